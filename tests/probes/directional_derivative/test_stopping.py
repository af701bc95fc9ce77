"""Stopped gradients: explained by what the code writes out, told apart by what they starve."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from gradcheck_suite.captures.directional_derivative import DirectionalDerivative
from gradcheck_suite.probes.directional_derivative.unstopping import Unstopped
from tests.probes.directional_derivative.models import Formula, Scaled, captured, subject

X = torch.randn(5, 3)


def held(m, x):
    """A loss against a target that is held constant, of the same module."""
    return functional.mse_loss(m.head(m.body(x)), m.body(x.flip(0)).detach())


def side(m, x):
    """A branch that is cut off, and with it what it is computed by."""
    return m.head(x) + torch.tanh(m.body(x)).detach()


def scaled(m, x):
    """A wrong gradient beside a stop that has nothing to do with it."""
    y = m.body(x)
    return m.head(Scaled.apply(y / y.detach().abs().max(), 0.9))


def blamed_places(function) -> tuple[DirectionalDerivative, list]:
    capture = captured(subject(lambda: nn.Sequential(Formula(function, body=nn.Linear(3, 3), head=nn.Linear(3, 3))), X))
    return capture, [place for place in capture.places if place.blamed]


def test_a_target_held_constant_in_a_loss():
    _, (place,) = blamed_places(held)
    assert (place.module, place.stopped, place.starved) == ("0", "objective", ())
    assert any("without these stops backprop agrees" in note for note in place.note)


def test_a_branch_that_is_cut_off_starves_its_parameters():
    _, (place,) = blamed_places(side)
    assert (place.module, place.stopped) == ("0", "inside")
    assert place.starved == ("0.body.weight", "0.body.bias")
    assert any("no gradient at all reaches 0.body.weight, 0.body.bias" in note for note in place.note)


def test_what_stops_do_not_explain_stays_unexplained():
    _, places = blamed_places(scaled)
    assert any(place.function == "Scaled" for place in places)
    assert all(not place.stopped and not place.starved for place in places)


def test_unstopped_gradients_flow_and_values_stay():
    x = torch.tensor([0.3, -1.2], requires_grad=True)
    with Unstopped(lifted=False):
        with torch.no_grad():
            y = 3 * x.detach()
        assert torch.is_grad_enabled()
    torch.testing.assert_close(torch.autograd.grad(y.sum(), x)[0], torch.full((2,), 3.0))
    with torch.no_grad(), Unstopped(lifted=True):
        assert not torch.is_grad_enabled()
        assert torch.zeros(2, dtype=torch.float32).dtype == torch.float64


def share(m, x):
    """A loss that takes a part of what it is computed from for constant."""
    y = torch.sigmoid(m.body(x))
    return (y * y).sum() / y.sum().detach()


def test_a_part_of_a_loss_held_constant_is_no_target():
    _, (place,) = blamed_places(share)
    assert (place.module, place.stopped) == ("0", "inside")


class Kept(torch.autograd.Function):
    """Writes a value over a row of what it is given, whose gradient it hands back as if the row were still there."""

    @staticmethod
    def forward(ctx, given, value, row):
        ctx.row = row
        result = given.clone()
        result[row] = value
        return result

    @staticmethod
    def backward(ctx, gradient):
        return gradient, gradient[ctx.row], None


def stepped(m, x):
    """A step that is chosen without gradients, beside a function that is wrong for arguments that do not occur."""
    y = m.body(x)
    with torch.no_grad():
        step = 1 / (1 + y.square().mean())
    rows = torch.zeros(2, 3, dtype=x.dtype)
    for index in range(2):
        rows = Kept.apply(rows, step * torch.tanh(y[index]), index)
    return m.head(rows)


def test_a_function_that_takes_no_part_is_not_named():
    _, (place,) = blamed_places(stepped)
    assert (place.function, place.source, place.stopped) == (None, None, "inside")
    assert any("without these stops backprop agrees" in note for note in place.note)


class Restarted(torch.autograd.Function):
    """Computes again in its backward pass and forgets a branch there."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sin(x)

    @staticmethod
    def backward(ctx, gradient):
        x = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad():
            y = x * torch.sin(x).detach()
        return torch.autograd.grad(y, x, gradient)[0]


def test_a_function_that_stops_gradients_itself_is_named():
    _, (place,) = blamed_places(lambda m, x: m.head(Restarted.apply(m.body(x))) / x.detach().abs().amax())
    assert place.function == "Restarted"
    assert place.stopped == ""


class Pair(nn.Module):
    """A prediction and a target of the same encoder, handed out detached."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        return self.head(self.body(x)), self.body(x.flip(0)).detach()


def test_a_target_that_the_model_hands_out_is_held_constant():
    capture = captured(subject(Pair, X, loss=lambda output, _: functional.mse_loss(*output)))
    places = [place for place in capture.places if place.blamed]
    assert places
    assert all((place.stopped, place.starved) == ("objective", ()) for place in places)


class Siamese(nn.Module):
    """The projections of two views that the other view's prediction is compared with, handed out with a weight."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        views = [self.body(x), self.body(x.flip(0))]
        return *(self.head(view) for view in views), *(view.detach() for view in views), torch.ones(len(x), 1)


def test_projections_that_predictions_are_made_from_may_be_handed_out_as_targets():
    capture = captured(subject(Siamese, X, loss=lambda o, _: (o[4] * ((o[0] - o[3]).square() + (o[1] - o[2]).square())).mean()))
    places = [place for place in capture.places if place.blamed]
    assert places
    assert all((place.stopped, place.starved) == ("objective", ()) for place in places)


class Cut(nn.Module):
    """A layer with a branch that no gradient takes, a whole output detached by mistake; every parameter learns all the same."""

    def __init__(self, extra=None):
        super().__init__()
        self.body, self.branch, self.head, self.extra = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3), extra

    def forward(self, x):
        h = self.body(x)
        y = self.head(h + torch.tanh(self.branch(h.detach())))
        return y if self.extra is None else (y, self.extra(h))


class Around(nn.Module):
    """That layer inside a model."""

    def __init__(self, extra=None):
        super().__init__()
        self.first, self.cut, self.last = nn.Linear(3, 3), Cut(extra), nn.Linear(3, 2)

    def forward(self, x):
        y = self.cut(self.first(x))
        return self.last(y if isinstance(y, torch.Tensor) else y[0] * y[1])


class Keys(nn.Module):
    """Attention whose keys are computed from a detached copy."""

    def __init__(self):
        super().__init__()
        self.norm, self.q, self.k, self.v = nn.LayerNorm(3), nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        h = self.norm(x)
        return x + torch.softmax(self.q(h) @ self.k(h.detach()).transpose(0, 1), -1) @ self.v(h)


@pytest.mark.parametrize("make", [
    pytest.param(Cut, id="plain"),
    pytest.param(Around, id="nested"),
    pytest.param(lambda: Around(lambda h: torch.ones(len(h), 1)), id="nested, with a constant beside it"),
    pytest.param(lambda: Around(lambda h: h.detach().clone()), id="nested, with a constant made of it"),
    pytest.param(lambda: Around(lambda h: h), id="nested, what is detached is handed out as it is"),
    pytest.param(lambda: nn.Sequential(nn.Linear(3, 3), Keys(), Keys(), nn.Linear(3, 2)), id="attention"),
])
@pytest.mark.parametrize("loss", [None, lambda output, _: (output[0] if isinstance(output, tuple) else output).square().mean()])
def test_a_whole_output_detached_by_mistake_is_no_target(make, loss):
    capture = captured(subject(make, X, loss=loss))
    places = [place for place in capture.places if place.blamed]
    assert places
    assert all((place.stopped, place.starved) == ("inside", ()) for place in places)
