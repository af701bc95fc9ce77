import pytest
import torch

from gradcheck_suite.architectures.build import build
from gradcheck_suite.architectures.mistakes import MISTAKES
from gradcheck_suite.architectures.subjects import subject
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.errors import UsageError

DENSE = Architecture(input_shape=(3,), layers=(layer("dense", units=4), layer("tanh"), layer("dense", units=2)), loss="mse", batch=5)


def setups(kind, module="", strength=1.0, architecture=DENSE):
    """The set-up with the mistake, and without it."""
    mistaken = architecture.changed(defects=(Defect(kind=kind, module=module, strength=strength),))
    return subject(mistaken).setup(3), subject(architecture).setup(3)


def loss(setup):
    return setup.loss(setup.model(*setup.batch.args), setup.batch.targets)


BATCHES = {
    "broadcast-targets": lambda x, y: (x, y.flatten()),
    "constant-targets": lambda x, y: (x, y[:1].expand_as(y)),
    "constant-inputs": lambda x, y: (x[:1].expand_as(x), y),
    "scaled-inputs": lambda x, y: (3 * x, y),
    "scaled-targets": lambda x, y: (x, 3 * y),
    "next-targets": lambda x, y: (x, x[:, [1, 2, 0]]),
}


@pytest.mark.parametrize("kind", BATCHES)
def test_a_batch_is_changed_as_said(kind):
    mistaken, right = setups(kind, strength=3.0)
    inputs, targets = BATCHES[kind](*right.batch.args, right.batch.targets)
    assert torch.equal(mistaken.batch.args[0], inputs)
    assert torch.equal(mistaken.batch.targets, targets)


def steps(setup):
    """How far one step moves each parameter, by name."""
    before = {name: p.detach().clone() for name, p in setup.model.named_parameters()}
    optimizer = setup.optimizer(setup.model.parameters())
    loss(setup).backward()
    optimizer.step()
    return {name: p.detach() - before[name] for name, p in setup.model.named_parameters()}


def test_an_ascent_steps_the_other_way():
    uphill, downhill = map(steps, setups("ascent"))
    for name, step in downhill.items():
        torch.testing.assert_close(uphill[name], -step)


def test_weight_decay_shrinks_the_weights():
    mistaken, right = setups("weight-decay", strength=0.5)
    weights = {name: p.detach().clone() for name, p in right.model.named_parameters()}
    decayed, plain = steps(mistaken), steps(right)
    for name, step in plain.items():
        torch.testing.assert_close(decayed[name], step - 0.01 * 0.5 * weights[name])


def test_a_partial_optimizer_leaves_a_module_where_it_is():
    moved = steps(setups("partial-optimizer", "0")[0])
    assert {name for name, step in moved.items() if step.any()} == {"2.weight", "2.bias"}


def test_losses_are_changed_as_said():
    expected = loss(setups("ascent")[1]).item()
    output = setups("ascent")[1]
    variance = output.model(*output.batch.args).var(correction=0).item()
    squares = sum(p.square().sum().item() for p in build(DENSE, 3).parameters())
    values = {"scaled-loss": 0.5 * expected, "clamped-loss": min(0.5, expected), "penalised-loss": expected + 0.5 * squares,
              "detached-loss": expected, "scaled-loss-gradient": expected, "unbalanced-loss-gradient": expected,
              "log-of-zero": expected, "cancelling-loss": expected + variance}
    assert set(values) == {kind for kind, mistake in MISTAKES.items() if mistake.stage == "loss"}
    for kind, value in values.items():
        found = loss(setups(kind, strength=0.5)[0])
        assert found.item() == pytest.approx(value)
        assert found.requires_grad == (kind != "detached-loss")
    assert loss(setups("log-of-zero", strength=1e5)[0]).isnan()


@pytest.mark.parametrize(("kind", "module", "facts", "message"), [
    ("scaled-loss", "", {"loss": ""}, "without a loss"),
    ("constant-targets", "", {"loss": ""}, "without a loss"),
    ("scaled-targets", "", {"loss": "nll"}, "whose targets are classes"),
    ("scaled-inputs", "", {"vocabulary": 5, "layers": (layer("embedding", units=2),)}, "on tokens"),
    ("partial-optimizer", "9", {}, "'', '0', '1', '2'"),
    ("ascend", "", {}, "Did you mean 'ascent'"),
])
def test_a_mistake_that_cannot_be_made_is_refused(kind, module, facts, message):
    with pytest.raises(UsageError, match=message):
        subject(DENSE.changed(**facts, defects=(Defect(kind=kind, module=module),)))


def gradients(setup):
    """The gradients at the update, by name, of an optimiser that holds the parameters."""
    optimizer = setup.optimizer(setup.model.parameters())
    loss(setup).backward()
    optimizer.step()
    return {name: p.grad for name, p in setup.model.named_parameters()}, optimizer


def test_clipping_is_done_before_the_step():
    right, _ = gradients(setups("clipping")[1])
    norm = torch.nn.utils.get_total_norm(right.values())
    together, _ = gradients(setups("clipping", strength=0.1)[0])
    alone, _ = gradients(setups("clipping-one-by-one", strength=0.001)[0])
    grown, _ = gradients(setups("scaling-after-clipping", strength=7.0)[0])
    for name, gradient in right.items():
        torch.testing.assert_close(together[name], gradient * min(1.0, 0.1 / (norm + 1e-6)))
        torch.testing.assert_close(alone[name], gradient * min(1.0, 0.001 / (gradient.norm() + 1e-6)))
        torch.testing.assert_close(grown[name], 7 * gradient * min(1.0, 1.0 / (norm + 1e-6)))


def test_parameters_are_repeated_and_gradients_share_memory():
    _, optimizer = gradients(setups("repeated-parameters", "0")[0])
    held = optimizer.param_groups[0]["params"]
    assert (len(held), len(set(held))) == (6, 4)
    shared, _ = gradients(setups("shared-gradients", "0")[0])
    assert shared["0.weight"].data_ptr() == shared["0.bias"].data_ptr()
    assert shared["2.weight"].data_ptr() != shared["2.bias"].data_ptr()
