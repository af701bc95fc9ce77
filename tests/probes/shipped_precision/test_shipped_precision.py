import dataclasses

import pytest
import torch
from torch import nn
from torch.autograd import Function
from torch.nn import functional

from gradcheck_suite.captures import codec
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.probes.shipped_precision import shipped_precision
from gradcheck_suite.subject import Batch, Setup, Subject

STANDARD = BUDGETS["standard"]
THOROUGH = dataclasses.replace(STANDARD, second_order=True)


class Scale(Function):
    """``3 x``; the gradient in a type of its own."""

    @staticmethod
    def forward(ctx, x, dtype):
        ctx.dtype = dtype
        return 3 * x

    @staticmethod
    def backward(ctx, g):
        return (3 * (g.to(ctx.dtype) if g.dtype == torch.float32 else g)).to(g.dtype), None


class Layer(nn.Module):
    def __init__(self, dtype=torch.float32, factor=1.0):
        super().__init__()
        self.dtype, self.factor = dtype, factor

    def forward(self, x):
        return Scale.apply(x, self.dtype) * self.factor


class Own(nn.Module):
    def __init__(self, forward):
        super().__init__()
        self.function, self.linear = forward, nn.Linear(3, 3)

    def forward(self, x):
        return self.function(self, x)


def subject(*modules, dtype=torch.float32):
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(2)).to(dtype)
    torch.manual_seed(0)
    model = nn.Sequential(*modules).to(dtype)

    def setup(seed):
        torch.manual_seed(seed)
        return Setup(model=model, batch=Batch((x,)))

    return Subject(name="specimen", setup=setup, fresh=False)


def places(*modules, budget=STANDARD, **facts):
    return {place.module: place for place in shipped_precision(subject(*modules, **facts), budget, 0).places}


def ratio(place):
    return place.difference / max(place.spread, place.roundoff)


@pytest.mark.parametrize(("layer", "least"), [
    (Layer(torch.bfloat16), 1e3), (Layer(torch.float16), 100.0), (Layer(torch.float16, 1e-9), 1e5),
    (Layer(torch.float16, 1e7), float("inf")),
], ids=["bfloat16", "half", "underflow", "overflow"])
def test_a_narrow_backward_pass_is_seen_at_the_gradient_of_training(layer, least):
    place = places(nn.Linear(3, 3), layer, nn.Linear(3, 3))["1"]
    assert (place.status, place.dtype, place.function) == ("compared", "float32", "Scale")
    assert ratio(place) >= least


def branches(m, x):
    return torch.where(m.linear(x) > 0, m.linear(x), 0.1 * x)


def dropped(m, x):
    return functional.dropout(m.linear(x), 0.5) + 0.1 * torch.randn_like(x)


RIGHT = {
    "scaled": lambda m, x: Layer()(x), "normalised": lambda m, x: functional.layer_norm(m.linear(x), (3,)), "branches": branches,
    "random": dropped, "softmax": lambda m, x: torch.softmax(30 * m.linear(x), -1),
    "cancelling": lambda m, x: (1 + m.linear(x)) - (1 + x), "sum": lambda m, x: m.linear(x).cumsum(0) ** 3,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", RIGHT)
def test_a_right_gradient_is_off_by_rounding_alone(name, dtype):
    place = places(nn.Linear(3, 3), Own(RIGHT[name]), nn.Linear(3, 3), dtype=dtype)["1"]
    assert place.status in ("compared", "choices")
    if place.status == "compared":
        assert ratio(place) < 8


def test_everything_in_a_thorough_budget():
    found = places(nn.Linear(3, 3), nn.GELU(), nn.LayerNorm(3), nn.Dropout(0.3), budget=THOROUGH)
    assert {place.status for place in found.values()} == {"compared"}
    assert max(map(ratio, found.values())) < 8


def autocast(m, x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return m.linear(x).float()


def test_a_region_of_mixed_precision_is_repeated_as_it_was():
    capture = shipped_precision(subject(nn.Linear(3, 3), Own(autocast)), STANDARD, 0)
    (place,) = capture.places
    assert (place.status, place.dtype) == ("compared", "bfloat16")
    assert ratio(place) < 8
    assert capture.islands
    assert all(island.autocast for island in capture.islands)


def test_an_island_is_named_with_its_module_and_line():
    capture = shipped_precision(subject(nn.Linear(3, 3), Own(lambda m, x: m.linear(x).float().double()), dtype=torch.float64), STANDARD, 0)
    (island,) = capture.islands
    assert (island.module, island.cast, island.autocast) == ("1", "float64 to float32", False)
    assert "test_shipped_precision.py:" in island.source


def test_float64_throughout_has_nothing_to_compare():
    capture = shipped_precision(subject(nn.Linear(3, 3), Layer(), dtype=torch.float64), STANDARD, 0)
    assert [place.status for place in capture.places] == ["nothing"]
    assert capture.dtypes == ("float64",)
    assert not capture.islands


def test_draws_mixed_with_arithmetic_are_left_out():
    place = places(nn.Linear(3, 3), nn.RReLU(), budget=THOROUGH)["1"]
    assert place.status == "not replayed"
    assert "rrelu" in place.why


def test_nothing_of_the_model_is_changed_and_the_capture_travels():
    made = subject(nn.Linear(3, 3), nn.BatchNorm1d(3), Own(dropped))
    model = made.setup(0).model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    capture = shipped_precision(made, STANDARD, 0)
    assert all(torch.equal(value, before[name]) and value.dtype == before[name].dtype for name, value in model.state_dict().items())
    assert torch.get_default_dtype() == torch.float32
    assert codec.encode(codec.decode(codec.encode(capture))) == codec.encode(capture)


class Low(nn.Module):
    """A layer in bfloat16, fed with float32."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3).bfloat16()

    def forward(self, x):
        return self.linear(x.bfloat16()).float()


def test_a_cast_to_the_type_of_the_parameters_is_no_island():
    made = Subject("low", lambda seed: Setup(Low(), Batch((torch.randn(5, 3),), targets=torch.zeros(5, 3)), functional.mse_loss))
    assert not shipped_precision(made, STANDARD, 0).islands
