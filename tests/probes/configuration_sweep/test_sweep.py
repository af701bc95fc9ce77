import pytest
import torch
from torch import nn

from gradcheck_suite.captures import codec
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.probes.configuration_sweep import configuration_sweep

from .specimens import Layer, between, off, right, subject

STANDARD = BUDGETS["standard"]


def swept(made, budget=STANDARD, seed=0):
    return configuration_sweep(made, budget, seed)


class Stale(nn.Module):
    """Its gradient reads what the last call has left behind."""

    def __init__(self):
        super().__init__()
        self.layer, self.last = Layer(off(lambda ctx, g, x: False)), None

    def forward(self, x):
        self.last = x.detach().clone()
        owner = self
        self.layer.gradient = lambda ctx, g, x: g * (2 * owner.last + ctx.scale)
        return self.layer(x)


class Cached(nn.Module):
    """In evaluation it multiplies with a copy of its weight."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 3, generator=torch.Generator().manual_seed(1)))
        self.register_buffer("copy", self.weight.detach().clone())

    def forward(self, x):
        return x @ (self.weight if self.training else self.copy)


class Picked(nn.Module):
    """Columns by number, and a gradient that forgets all but the last of those picked twice."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.register_buffer("columns", torch.tensor([0, 2]))

    def forward(self, x):
        return self.function.apply(x, self.columns)


class Columns(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, columns):
        ctx.save_for_backward(columns)
        return x[:, columns]

    @staticmethod
    def backward(ctx, g):
        return g.new_zeros(len(g), 3).index_add(1, ctx.saved_tensors[0], g), None


class LastColumn(Columns):
    @staticmethod
    def backward(ctx, g):
        return g.new_zeros(len(g), 3).index_copy(1, ctx.saved_tensors[0], g), None


WRONG = {
    "setting": Layer(off(lambda ctx, g, x: ctx.scale != 1.0)),
    "shape": Layer(off(lambda ctx, g, x: x.shape[0] == 1)),
    "zeros": Layer(lambda ctx, g, x: right(ctx, g, x) * x / x),
    "values of the input": Layer(off(lambda ctx, g, x: x > 20)),
    "use in the graph": Stale(),
    "layout": Layer(off(lambda ctx, g, x: 0 in g.stride())),
    "size of the incoming gradient": Layer(lambda ctx, g, x: right(ctx, g.clamp(-100, 100), x)),
    "mode": Cached(),
}


@pytest.mark.parametrize("axis", WRONG)
def test_the_change_that_matters_is_named(axis):
    found = swept(between(WRONG[axis]))
    wrong = [wrong for module in found.modules for wrong in module.wrong]
    assert axis in {name for one in wrong for name, _ in one.changes}
    assert {one.place.module.split(".")[0] for one in wrong} == {"1"}
    assert codec.encode(codec.decode(codec.encode(found))) == codec.encode(found)


def test_more_axes_and_longer_ones_are_tried():
    for when in (lambda ctx, g, x: x.dim() == 3, lambda ctx, g, x: x.shape[0] > 4):
        (module,) = swept(between(Layer(off(when)))).modules
        assert [axis for axis, _ in module.wrong[0].changes] == ["shape"]


def test_a_repeated_number_is_tried_and_a_right_layer_is_not_accused():
    (wrong,) = swept(subject(nn.Linear(3, 3), Picked(LastColumn), nn.Linear(2, 2))).modules[0].wrong
    assert wrong.changes[0] == ("duplicates and ties", "columns: an entry repeated")
    assert wrong.place.function == "LastColumn"
    assert not swept(subject(nn.Linear(3, 3), Picked(Columns), nn.Linear(2, 2))).modules[0].wrong


def test_two_changes_are_tried_where_one_is_not_enough():
    both = Layer(off(lambda ctx, g, x: ctx.scale != 1.0 and x.shape[0] != 4))
    (module,) = swept(between(both), BUDGETS["thorough"]).modules
    assert {axis for axis, _ in module.wrong[0].changes} == {"setting", "shape"}
    assert any(axis.axis == "two changes" and axis.wrong for axis in module.axes)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("layer", [Layer, nn.Identity], ids=["hand-written", "none"])
def test_a_right_layer_agrees_everywhere(layer, seed):
    made = between(layer())
    if layer is nn.Identity:
        with pytest.raises(NotApplicable, match="PyTorch's own"):
            swept(made, seed=seed)
        return
    (module,) = swept(made, seed=seed).modules
    assert not module.wrong
    assert not module.left_out
    assert module.tried > 30
    assert sum(axis.agrees for axis in module.axes) > 20


def test_what_is_wrong_as_it_is_called_is_left_to_the_other_property():
    (module,) = swept(between(Layer(off(lambda ctx, g, x: True)))).modules
    assert module.left_out.startswith("the gradient is not the derivative")
    assert not module.wrong


def test_a_declared_mismatch_carries_its_reason():
    for name in ("1", "Bent"):
        made = between(WRONG["shape"], intended={name: "one sample is never trained on"})
        (wrong,) = swept(made).modules[0].wrong
        assert wrong.intended == "one sample is never trained on"


def test_nothing_of_the_model_is_changed():
    made = between(nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5), Cached(), Layer()))
    model = made.setup(0).model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes, settings, state = [m.training for m in model.modules()], vars(model[1][3]).copy(), torch.get_rng_state()
    swept(made)
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert [m.training for m in model.modules()] == modes
    assert vars(model[1][3]) == settings
    assert torch.equal(torch.get_rng_state(), state)


def test_a_budget_without_a_sweep_says_so():
    with pytest.raises(NotApplicable, match="allows no sweep"):
        swept(between(Layer()), BUDGETS["quick"])


def test_equal_seeds_give_equal_captures():
    made = between(Layer(off(lambda ctx, g, x: x > 20)))
    assert codec.encode(swept(made)) == codec.encode(swept(made))


class Cancelling(nn.Module):
    """The identity, made of kinks that cancel: PyTorch's gradient at zero is 0."""

    def forward(self, x):
        return torch.relu(x) - torch.relu(-x)


def test_kinks_that_cancel_are_no_mistake_of_the_module():
    assert not swept(subject(nn.Linear(3, 3), Cancelling(), nn.Linear(3, 2))).modules[0].wrong
