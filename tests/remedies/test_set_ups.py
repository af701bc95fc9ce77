"""Optimisers, batches and precision."""

import pytest
import torch
from torch import nn

from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.remedies import remedy
from gradcheck_suite.subject import Batch
from tests.remedies.setups import group_of, optimizer_of, setup, sgd, stack


def adam(parameters):
    return torch.optim.Adam(parameters, lr=0.01, eps=1e-4)


@pytest.mark.parametrize(("name", "rate"), [("lower-learning-rate", 0.01), ("higher-learning-rate", 1.0)])
def test_every_groups_rate_is_scaled(name, rate):
    def grouped(parameters):
        return torch.optim.SGD([{"params": parameters[:1], "lr": 0.2}, {"params": parameters[1:]}], lr=0.1)

    assert group_of(remedy(name)(setup()))["lr"] == pytest.approx(rate)
    rates = [group["lr"] for group in optimizer_of(remedy(name)(setup(optimizer=grouped))).param_groups]
    assert rates == pytest.approx([2 * rate, rate])


def test_gradient_descent_gets_momentum():
    assert group_of(remedy("momentum")(setup()))["momentum"] == 0.9
    for factory in (adam, lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.5)):
        with pytest.raises(NotApplicable, match="is not gradient descent without momentum"):
            remedy("momentum")(setup(optimizer=factory))


def test_the_step_is_clipped_and_keeps_its_direction():
    changed = remedy("gradient-clipping")(setup(nn.Linear(16, 3, bias=False)))
    optimizer, weight = optimizer_of(changed), changed.model.weight
    before = weight.detach().clone()
    weight.grad = 50 * torch.ones_like(weight)
    optimizer.step()
    moved = before - weight.detach()
    assert float(moved.norm()) == pytest.approx(0.1, rel=1e-4)
    assert float(moved.std()) < 1e-6
    with pytest.raises(NotApplicable, match="LBFGS"):
        remedy("gradient-clipping")(setup(optimizer=torch.optim.LBFGS))


def test_adam_takes_over_the_parameters_of_the_optimiser():
    made = optimizer_of(remedy("adam-optimizer")(setup(optimizer=lambda parameters: sgd(parameters[:2]))))
    assert isinstance(made, torch.optim.Adam)
    assert [len(group["params"]) for group in made.param_groups] == [2]
    with pytest.raises(NotApplicable, match="Adam already"):
        remedy("adam-optimizer")(setup(optimizer=adam))


def test_the_epsilon_shrinks():
    assert group_of(remedy("smaller-epsilon")(setup(optimizer=adam)))["eps"] == pytest.approx(1e-10)
    with pytest.raises(NotApplicable, match="SGD has no epsilon"):
        remedy("smaller-epsilon")(setup())


@pytest.mark.parametrize("name", ["lower-learning-rate", "higher-learning-rate", "momentum", "gradient-clipping", "adam-optimizer",
                                  "smaller-epsilon"])
def test_without_an_optimiser_or_anything_to_train_it_is_not_applicable(name):
    with pytest.raises(NotApplicable, match="no optimiser"):
        remedy(name)(setup(optimizer=None))
    with pytest.raises(NotApplicable, match="no parameter that requires a gradient"):
        remedy(name)(setup(stack().requires_grad_(False)))


def test_inputs_are_standardised_wherever_they_are_nested():
    columns, image = 1000 + 50 * torch.randn(32, 4), 255 * torch.rand(8, 3, 5, 5)
    constant, tokens = torch.full((32, 2), 7.0), torch.arange(6).reshape(3, 2)
    made = setup()
    changed = remedy("normalized-inputs")(
        type(made)(made.model, Batch((columns, [image, "text"]), {"more": {"constant": constant, "tokens": tokens}}, columns)))
    (first, (second, text)), more = changed.batch.args, changed.batch.kwargs["more"]
    assert torch.allclose(first.mean(0), torch.zeros(4), atol=1e-5)
    assert torch.allclose(first.std(0), torch.ones(4), atol=1e-5)
    assert abs(float(second.mean())) < 1e-5
    assert float(second.std()) == pytest.approx(1.0, abs=1e-5)
    assert text == "text"
    assert torch.equal(more["constant"], constant)
    assert torch.equal(more["tokens"], tokens)
    assert changed.batch.targets is columns


def test_targets_are_standardised():
    changed = remedy("normalized-targets")(setup(targets=5 + 1e4 * torch.randn(8, 3)))
    assert torch.allclose(changed.batch.targets.std(0), torch.ones(3), atol=1e-5)


@pytest.mark.parametrize(("name", "values"), [("normalized-inputs", torch.ones(8, 16)), ("normalized-inputs", torch.arange(8)),
                                              ("normalized-targets", torch.arange(8))])
def test_what_does_not_vary_or_has_no_scale_is_not_standardised(name, values):
    facts = {"inputs" if name == "normalized-inputs" else "targets": values}
    with pytest.raises(NotApplicable, match="that vary"):
        remedy(name)(setup(**facts))


def test_half_precision_becomes_float32():
    inputs = torch.randn(8, 16, dtype=torch.bfloat16)
    changed = remedy("float32-precision")(setup(stack().bfloat16(), inputs, torch.arange(8)))
    assert {parameter.dtype for parameter in changed.model.parameters()} == {torch.float32}
    assert changed.model(*changed.batch.args).dtype == torch.float32
    assert changed.batch.targets.dtype == torch.int64
    with pytest.raises(NotApplicable, match="half precision"):
        remedy("float32-precision")(setup(stack().double()))
