import pytest
import torch

from gradcheck_suite.probes.configuration_sweep.draft import Draft
from gradcheck_suite.probes.configuration_sweep.judgement import alike, defined, spread, stops

A, B = torch.arange(6.0).view(2, 3), torch.arange(6.0).view(2, 3) + 10


def drafted(cut=None):
    return Draft(torch.nn.Identity(), "", [], None, [], [], cut=cut)


def test_slices_of_a_batched_output_are_the_outputs_of_the_slices():
    assert alike((torch.stack([A, B]),), [(A,), (B,)])
    assert not alike((torch.stack([A, A]),), [(A,), (B,)])
    assert not alike((A.mean(),), [(A.mean(),), (B.mean(),)])
    assert not alike((torch.stack([A, B]), A), [(A,), (B,)])


def test_outputs_must_be_finite_unless_they_never_were():
    infinite = torch.tensor([1.0, float("-inf")])
    assert defined((A,), None)
    assert not defined((infinite,), (A,))
    assert defined((infinite,), (infinite,))
    assert not defined((torch.tensor([float("nan")]),), (infinite,))


@pytest.mark.parametrize(("cut", "own", "expected"), [(None, A, False), (0, A, True), (0, A[:1], False), (2, A, False)])
def test_an_axis_of_length_one_that_comes_out_long_was_broadcast(cut, own, expected):
    assert spread(drafted(cut), (own,), (A,)) is expected


def test_running_without_gradients_is_no_stop():
    assert stops(["no_grad (a.py:1)", "detach (a.py:2)", "item (a.py:3)"]) == {"detach (a.py:2)", "item (a.py:3)"}
