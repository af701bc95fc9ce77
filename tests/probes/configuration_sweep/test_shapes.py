import pytest
import torch
from torch import nn

from gradcheck_suite.probes.configuration_sweep.draft import draft_of
from gradcheck_suite.probes.configuration_sweep.shapes import features, resized, shapes
from gradcheck_suite.probes.directional_derivative.draws import Draws
from gradcheck_suite.probes.directional_derivative.record import Call

X = torch.arange(1.0, 13.0, dtype=torch.float64).view(4, 3)
LABELS = torch.tensor([0, 2, 1, 1])
DRAWS = Draws(0)


def drafted():
    return draft_of(Call(nn.Identity(), "m", (X, LABELS), {}))


def applied(text, found=shapes):
    draft = drafted()
    next(change for change in found(draft, DRAWS) if change.text == text).apply(draft)
    return draft


@pytest.mark.parametrize(("text", "x", "labels"), [
    ("axis 0 of length 1", (1, 3), (1,)), ("axis 0 of length 9", (9, 3), (9,)), ("axis 1 of length 4", (4, 4), (4,)),
    ("one axis more, in front", (2, 4, 3), (2, 4)), ("without the first axis", (3,), ()), ("argument 1: only its first row", (4, 3), (1,)),
])
def test_arguments_that_share_an_axis_change_together(text, x, labels):
    draft = applied(text)
    assert draft.leaves[0].shape == x
    assert draft.leaves[1].shape == labels


def test_slices_of_an_axis_in_front_are_remembered():
    draft = applied("one axis more, in front")
    assert torch.equal(draft.slices[0][0], X)
    assert not torch.equal(draft.slices[1][0], X)


def test_twice_the_features():
    assert applied("axis 1 of length 6", features).leaves[0].shape == (4, 6)


def test_added_slices_keep_sign_and_zeros():
    made = resized(torch.tensor([[1.0], [0.0]], dtype=torch.float64), 0, 5, DRAWS)
    assert torch.equal(made[:2], torch.tensor([[1.0], [0.0]], dtype=torch.float64))
    assert (made >= 0).all()
    assert (made[3] == 0).all()
