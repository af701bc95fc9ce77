import pytest
import torch

from gradcheck_suite.probes.directional_derivative.experiment import NotRepeatable
from gradcheck_suite.probes.shipped_precision.draws import Keeping, Repeating


def drawn(function):
    mode = Keeping()
    with mode:
        result = function()
    return result, mode


def random(dtype):
    return lambda: torch.rand(4, dtype=dtype) + torch.empty(4, dtype=dtype).bernoulli_(0.5) + torch.randint(5, (4,))


def test_draws_come_again_in_another_precision():
    first, mode = drawn(random(torch.float32))
    with Repeating(mode.drawn):
        again = random(torch.float64)()
    assert again.dtype == torch.float64
    assert torch.allclose(again, first.double(), atol=1e-6)


def test_another_draw_than_the_first_run_made_is_refused():
    _, mode = drawn(lambda: torch.rand(3))
    with Repeating(mode.drawn), pytest.raises(NotRepeatable):
        torch.randn(3)


@pytest.mark.parametrize(("function", "narrowest"), [
    (lambda: torch.ones(2).double() * 2, torch.float32), (lambda: torch.ones(2).half().float(), torch.float16),
    (lambda: torch.ones(2, dtype=torch.float64) * 2, torch.float64),
])
def test_the_narrowest_type_is_remembered(function, narrowest):
    assert drawn(function)[1].narrowest == narrowest


def test_results_that_round_are_moved_by_at_most_a_roundoff_and_others_not_at_all():
    x = torch.linspace(1, 2, 50, dtype=torch.float64)
    with Repeating([], roundoff=1e-3, seed=1):
        product, absolute, view, inplace = x * 3, x.abs(), x.view(5, 10), x.clone().mul_(3)
    assert 1e-4 < float((product / (3 * x) - 1).abs().max()) <= 1e-3
    assert torch.equal(absolute, x)
    assert torch.equal(view, x.view(5, 10))
    assert 1e-4 < float((inplace / (3 * x) - 1).abs().max()) <= 1e-3
