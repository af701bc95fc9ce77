import pytest
import torch
from torch import nn

from gradcheck_suite.probes.configuration_sweep import usage
from gradcheck_suite.probes.configuration_sweep.draft import Inapplicable, draft_of
from gradcheck_suite.probes.configuration_sweep.varied import Varied
from gradcheck_suite.probes.directional_derivative.draws import Draws
from gradcheck_suite.probes.directional_derivative.generators import Generators
from gradcheck_suite.probes.directional_derivative.record import Call
from gradcheck_suite.probes.directional_derivative.resets import Resets
from gradcheck_suite.probes.directional_derivative.units import Surroundings


class Seen(torch.autograd.Function):
    """The identity; keeps the gradient it is given."""

    kept = None

    @staticmethod
    def forward(ctx, x):
        return x * 1.0

    @staticmethod
    def backward(ctx, g):
        Seen.kept = g
        return g * 1.0


class Module(nn.Module):
    def forward(self, x, y):
        return Seen.apply(x) + 0.0 * y.sum(), y.sin()


def drafted():
    x, y = torch.randn(2, 4, 3, dtype=torch.float64).unbind()
    return draft_of(Call(Module(), "m", (x, y), {}))


def unit_of(draft):
    return Varied(draft, Surroundings(Draws(0), Resets(draft.module), Generators([])))


def incoming(found, text):
    draft = drafted()
    next(change for change in found(draft, {0: "x", 1: "y"}) if change.text == text).apply(draft)
    unit = unit_of(draft)
    outputs = unit.run()
    torch.autograd.grad(outputs, unit.tensors, [torch.ones(y.shape, dtype=y.dtype) for y in outputs], allow_unused=True)
    return Seen.kept


def test_incoming_gradients_lie_in_memory_as_said():
    assert incoming(usage.layouts, "the incoming gradient is one number, expanded").stride() == (0, 0)
    assert not incoming(usage.layouts, "the incoming gradient is transposed").is_contiguous()
    assert 0 in incoming(usage.layouts, "the incoming gradient is expanded along the last axis").stride()
    part = incoming(usage.layouts, "the incoming gradient is zero in part")
    assert part.any()
    assert not part[2:].any()


def test_an_expanded_gradient_has_memory_of_its_own():
    kept = incoming(usage.layouts, "the incoming gradient is one number, expanded")
    assert kept.untyped_storage().nbytes() == kept.element_size()


@pytest.mark.parametrize(("text", "size"), [("the incoming gradient times 1e6", 1e6), ("the incoming gradient times 1e-6", 1e-6)])
def test_incoming_gradients_of_other_sizes(text, size):
    assert torch.allclose(incoming(usage.layouts, text), torch.full((4, 3), size, dtype=torch.float64))


def test_one_tensor_for_two_arguments_is_one_leaf():
    draft = drafted()
    next(change for change in usage.graph(draft, {0: "x", 1: "y"}) if change.text == "the same tensor for x and y").apply(draft)
    assert len(unit_of(draft).tensors) == 1


def test_only_one_output_is_used_where_there_are_several():
    draft = drafted()
    next(change for change in usage.graph(draft, {0: "x", 1: "y"}) if change.text == "only output 1 used").apply(draft)
    assert len(unit_of(draft).run()) == 1
    alone = draft_of(Call(nn.Identity(), "m", (torch.ones(2, dtype=torch.float64),), {}))
    next(change for change in usage.graph(alone, {0: "x"}) if change.text == "only output 1 used").apply(alone)
    with pytest.raises(Inapplicable):
        unit_of(alone).run()


def test_inputs_and_parameters_lose_and_get_requires_grad():
    module = nn.Linear(3, 2).double()
    draft = draft_of(Call(module, "m", (torch.ones(4, 3, dtype=torch.float64),), {}))
    texts = {change.text: change for change in usage.needs(draft, {0: "x"})}
    assert list(texts) == ["x without requires_grad", "weight frozen", "bias frozen", "all parameters frozen"]
    texts["weight frozen"].apply(draft)
    with draft.applied():
        assert not module.weight.requires_grad
        assert unit_of(draft).names() == ["x", "bias"] or unit_of(draft).names() == ["input", "bias"]
    assert module.weight.requires_grad


def test_an_input_that_is_not_contiguous_holds_the_same_numbers():
    draft = drafted()
    next(change for change in usage.layouts(draft, {0: "x", 1: "y"}) if change.text == "x not contiguous").apply(draft)
    given = draft.arranged[0](draft.leaves[0])
    assert torch.equal(given, draft.leaves[0])
    assert not given.is_contiguous()


def test_the_mode_is_put_back():
    module = nn.Sequential(nn.Dropout(), nn.Dropout().eval())
    draft = draft_of(Call(module, "m", (torch.ones(2),), {}))
    next(iter(usage.modes(draft))).apply(draft)
    with draft.applied():
        assert not any(part.training for part in module.modules())
    assert [part.training for part in module.modules()] == [True, True, False]
