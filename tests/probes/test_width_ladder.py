"""The width ladder, on networks whose exponents are known."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from gradcheck_suite.architectures.subjects import subject as of_architecture
from gradcheck_suite.architectures.subjects import widened
from gradcheck_suite.captures.codec import decode, encode
from gradcheck_suite.captures.width_ladder import WidthLadder
from gradcheck_suite.core.architecture import Architecture, layer
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.probes.width_ladder import width_ladder
from gradcheck_suite.subject import Subject
from gradcheck_suite.targets import subject_of

ROWS = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))


def factory(scale, rate=0.0):
    """A hidden layer of ``width`` units whose last weights are drawn with standard deviation ``scale(width)``."""
    def build(width: int = 16):
        model = nn.Sequential(nn.Linear(4, width, bias=False), nn.Linear(width, 3, bias=False))
        nn.init.normal_(model[1].weight, std=scale(width))
        return {"model": model, "inputs": ROWS, "targets": ROWS[:, :3], "loss": functional.mse_loss,
                "optimizer": lambda parameters: torch.optim.Adam(parameters, lr=rate)}

    return build


def seen(value) -> WidthLadder:
    return width_ladder(subject_of(value, name="s"), BUDGETS["standard"], 3)


@pytest.mark.parametrize(("power", "expected"), [(0.0, 0.5), (-0.5, 0.0), (-1.0, -0.5)])
def test_the_exponent_of_the_initialisation(power, expected):
    capture = seen(factory(lambda width: width**power))
    slope, error = capture.slope(0, capture.modules.index("1"))
    assert slope == pytest.approx(expected, abs=error)
    assert 0 < error < 0.6
    assert decode(encode(capture)).modules == capture.modules


def test_steps_of_adam_add_outputs_that_grow_with_the_width():
    hidden = (layer("dense", units=32), layer("relu"), layer("dense", units=32), layer("relu"), layer("dense", units=3))
    net = Architecture(input_shape=(6,), layers=hidden, loss="mse", batch=16, optimizer="adam", learning_rate=0.1)
    capture = width_ladder(of_architecture(net), BUDGETS["standard"], 3)
    place, slope, error = capture.steepest(capture.steps)
    assert slope - error > 0.25
    assert abs(capture.slope(0, place)[0]) < 0.25
    assert len(capture.curve(place).series) == capture.steps + 1


def test_a_maker_without_a_width_is_not_applicable():
    with pytest.raises(NotApplicable, match="not made from a width"):
        seen(lambda: {"model": nn.Linear(4, 3), "inputs": ROWS, "targets": ROWS[:, :3], "loss": functional.mse_loss})
    too_large = factory(lambda width: 1.0)
    with pytest.raises(NotApplicable, match="parameters"):
        seen(lambda width=1_000_000: too_large(width))


def test_outputs_of_zero_have_no_exponent():
    capture = seen(factory(lambda width: 0.0))
    assert capture.slope(0, capture.modules.index("1")) is None
    assert math.isnan(capture.sizes[0, 0, 0, capture.modules.index("1")])


def test_an_architecture_is_widened_but_for_its_output():
    narrow = Architecture(input_shape=(6,), layers=(layer("residual", layer("dense", units=6)), layer("relu"), layer("dense", units=3)))
    wide = widened(narrow.changed(layers=(layer("dense", units=6), *narrow.layers)), 4)
    assert [one.option("units") for _, one in wide.walk() if one.kind == "dense"] == [24, 24, 3]
    made: Subject = of_architecture(narrow.changed(layers=(layer("dense", units=6), *narrow.layers), loss="mse"))
    assert made.widened is not None
    setup = made.widened(2).setup(0)
    assert setup.model(*setup.batch.args).shape[1] == 3
