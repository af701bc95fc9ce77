"""Branch signatures: the operations whose choices are seen, and the largest smooth step."""

import pytest
import torch
from torch.nn import functional

from gradcheck_suite.probes.directional_derivative.signatures import difference, signature, smooth_step

ZERO = torch.tensor([0.7, 0.0, -1.2], dtype=torch.float64)
OTHER = torch.tensor([0.3, 0.1, -0.4], dtype=torch.float64)
ONES = torch.ones(3, dtype=torch.float64)
IMAGE = torch.arange(16.0, dtype=torch.float64).view(1, 1, 4, 4)
KINKED = {
    "relu": (functional.relu, ZERO),
    "in-place relu": (lambda x: functional.relu_(x.clone()), ZERO),
    "leaky relu": (functional.leaky_relu, ZERO),
    "abs": (torch.abs, ZERO),
    "elu": (functional.elu, ZERO),
    "prelu": (lambda x: functional.prelu(x[None], torch.tensor([0.2], dtype=x.dtype)), ZERO),
    "hardtanh": (functional.hardtanh, ZERO + 1.0),
    "relu6": (functional.relu6, ZERO + 6.0),
    "hardswish": (functional.hardswish, ZERO + 3.0),
    "hardsigmoid": (functional.hardsigmoid, ZERO - 3.0),
    "hardshrink": (functional.hardshrink, ZERO + 0.5),
    "softshrink": (functional.softshrink, ZERO - 0.5),
    "threshold": (lambda x: functional.threshold(x, 0.3, 1.0), ZERO + 0.3),
    "clamp": (lambda x: x.clamp(-9.0, 0.5), ZERO + 0.5),
    "clamp by tensor": (lambda x: x.clamp(min=OTHER), OTHER),
    "max pool": (lambda x: functional.max_pool1d(x[None], 3), ONES),
    "maximum": (lambda x: torch.maximum(x, OTHER), OTHER),
    "amax": (lambda x: x.amax(0), ONES),
    "amax of an axis": (lambda x: x.expand(2, 3).amax(1), ONES),
    "max": (torch.max, ONES),
    "sort": (lambda x: x.sort()[0], ONES),
    "top k": (lambda x: x.topk(2)[0], ONES),
    "comparison": (lambda x: torch.where(x > 0, x, 2 * x), ZERO),
    "floor": (torch.floor, ZERO),
    "round": (torch.round, ZERO + 0.5),
    "remainder": (lambda x: torch.remainder(x, 0.5), ZERO),
    "norm": (lambda x: x[1:2].norm(), ZERO),
    "1-norm": (lambda x: x.norm(1), ZERO),
    "infinity norm": (lambda x: x.norm(float("inf")), ONES),
    "l1 loss": (lambda x: functional.l1_loss(x, OTHER), OTHER),
    "huber loss": (lambda x: functional.huber_loss(x, torch.zeros_like(x), delta=0.7), ZERO),
    "to integer": (lambda x: x.long() * 1.0, ZERO + 1.0),
    "cdist": (lambda x: torch.cdist(x[None], OTHER[None], p=1.0), OTHER),
    "grid sample": (lambda x: functional.grid_sample(IMAGE, x[1:3].view(1, 1, 1, 2), align_corners=False), ZERO * 0 - 0.25),
}
SMOOTH = {
    "tanh": torch.tanh, "gelu": functional.gelu, "softmax": lambda x: x.softmax(0), "dead relus": lambda x: functional.relu(-x * x - 1) + x,
    "mask from shapes": lambda x: x.masked_fill(torch.arange(3) > 1, 0.0), "relu away from zero": lambda x: functional.relu(x + 0.1),
}


def at(function, point):
    step = torch.tensor([1.0, -0.8, 0.6], dtype=torch.float64)
    return lambda t: lambda: function(point + t * step)


@pytest.mark.parametrize("name", KINKED)
def test_a_point_on_a_kink_has_no_smooth_step(name):
    function, point = KINKED[name]
    step, kink = smooth_step(at(function, point))
    assert step is None
    assert kink is not None
    assert kink.flips >= 1


@pytest.mark.parametrize("name", SMOOTH)
def test_a_smooth_point_has_one(name):
    step, _ = smooth_step(at(SMOOTH[name], ZERO))
    assert step is not None
    assert step >= 1e-6


def test_the_step_shrinks_until_no_choice_changes():
    step, kink = smooth_step(at(functional.relu, ZERO + 1e-7))
    assert step is not None
    assert 1e-12 <= step <= 1e-7
    assert kink is not None


def test_a_kink_tells_operation_count_place_and_line():
    reference = signature(lambda: functional.relu(ZERO))
    kink = difference(reference, lambda: functional.relu(ZERO + 1e-3))
    assert (kink.operation, kink.flips, kink.total, kink.entry) == ("relu at 0", 1, 3, (1,))
    assert "test_signatures.py:" in kink.source


def test_changed_control_flow_is_a_kink():
    kink = difference(signature(lambda: functional.relu(functional.relu(OTHER))), lambda: functional.relu(OTHER))
    assert kink.operation == "control flow"


def test_an_exception_is_a_kink():
    def fail():
        raise ValueError("outside")

    assert "ValueError" in difference(signature(lambda: None), fail).operation
