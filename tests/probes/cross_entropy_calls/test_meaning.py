"""What the arguments of a cross entropy mean: values and gradients of PyTorch's, for all of its settings."""

import itertools

import pytest
import torch
from torch.nn import functional

from gradcheck_suite.probes.cross_entropy_calls.finding import plain
from gradcheck_suite.probes.cross_entropy_calls.meaning import candidates, same

GRID = list(itertools.product(((7, 4), (3, 4, 5), (2, 4, 3, 2), (4,)), ("mean", "sum", "none"), (0.0, 0.2), (False, True), (False, True)))


@pytest.mark.parametrize(("shape", "reduction", "smoothing", "weighted", "shares"), GRID)
def test_the_meaning_is_what_pytorch_computes(shape, reduction, smoothing, weighted, shares):
    generator = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(shape, generator=generator, dtype=torch.float64)).requires_grad_()
    axis = 1 if len(shape) > 1 else 0
    positions = [size for place, size in enumerate(shape) if place != axis]
    classes = torch.randint(0, 4, positions, generator=generator)
    target = torch.softmax(torch.randn(shape, generator=generator, dtype=torch.float64), axis) if shares else classes
    weight = torch.rand(4, generator=generator, dtype=torch.float64) if weighted else None
    options = {"reduction": reduction, "label_smoothing": smoothing}
    options |= {"ignore_index": 2} if not shares and len(shape) > 1 else {}
    value = functional.cross_entropy(logits, target, weight, **options)
    one = plain(None, logits, target, weight, **options)
    torch.testing.assert_close(one.meaning.value(logits.detach()).reshape(value.shape), value.detach(), rtol=1e-13, atol=1e-13)
    cotangent = torch.randn(value.shape, generator=generator, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(value, logits, cotangent)
    expected, sizes, lengths = one.meaning.gradient(logits.detach(), cotangent)
    found = one.meaning.rows(gradient)
    assert (found - expected).norm() <= 16 * 2.0**-53 * sizes.norm()
    assert (found.sum(-1).abs() <= 16 * 2.0**-53 * sizes.sum(-1)).all()
    assert (found.norm(dim=-1) <= 2**0.5 * lengths * (1 + 1e-14)).all()


@pytest.mark.parametrize(("shape", "axis", "divisor"), [
    ((6, 3), -1, 6), ((6, 3), 1, 1), ((2, 5, 3), -1, 10), ((2, 3, 5), 1, 10), ((2, 5, 3), -1, 0.7),
])
def test_a_loss_by_hand_is_recognised_by_its_values(shape, axis, divisor):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(shape, generator=generator, dtype=torch.float64)
    positions = [size for place, size in enumerate(shape) if place != axis % len(shape)]
    target = torch.randint(0, shape[axis], positions, generator=generator)
    picked = torch.log_softmax(logits, axis).gather(axis, target.unsqueeze(axis))
    for value in (-picked.sum() / divisor, -picked / divisor):
        found = list(candidates(logits, target, value))
        fitting = [one for one in found if same(value, one, logits, 1e-12)]
        assert axis % len(shape) in {one.axis for one in fitting}
        (one,) = [one for one in found if one.axis == axis % len(shape)]
        assert one.summed == (value.numel() == 1)
        assert one.factor[0] == pytest.approx(1 / divisor)
        again = torch.log_softmax(2 * logits, axis).gather(axis, target.unsqueeze(axis)) / -divisor
        assert same(again.sum() if one.summed else again, one, 2 * logits, 1e-12)
        assert not same((again.sum() if one.summed else again) * (1 + 1e-9), one, 2 * logits, 1e-12)


def test_targets_that_are_no_classes_fit_nothing():
    logits, value = torch.zeros(4, 3), torch.ones(())
    for target in (torch.tensor([0, 1, 2, 3]), torch.zeros(5, dtype=torch.int64), torch.ones(4, 3), torch.zeros(4, 3).bool(),
                   torch.zeros(())):
        assert not list(candidates(logits, target, value))
    assert not list(candidates(logits, torch.zeros(4, dtype=torch.int64), None))


def test_a_target_that_is_ignored_counts_for_nothing():
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    target = torch.tensor([0, -100, 2, 1])
    value = functional.cross_entropy(logits, target)
    (one,) = candidates(logits, target, value)
    assert one.factor[0] == pytest.approx(1 / 3)
    assert not one.weights[1].any()
