"""Scales along depth and along time, against factors that are known."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from gradcheck_suite.captures.codec import decode, encode
from gradcheck_suite.captures.depth_profile import DepthProfile
from gradcheck_suite.captures.temporal_profile import TemporalProfile
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.probes.depth_profile import depth_profile
from gradcheck_suite.probes.temporal_profile import temporal_profile
from gradcheck_suite.subject import Batch, Setup, Subject
from tests.probes.small import mlp, regression, subject


def depth(make, data=None) -> DepthProfile:
    return depth_profile(subject(make, data or regression(8)), BUDGETS["quick"], 1)


def orthogonal(gain: float, layers: int = 12) -> nn.Sequential:
    """A linear chain that multiplies every norm by the gain at every layer."""
    model = nn.Sequential(*(nn.Linear(8, 8, bias=False) for _ in range(layers)), nn.Linear(8, 2))
    for layer in model[:-1]:
        nn.init.orthogonal_(layer.weight, gain=gain)
    return model


@pytest.mark.parametrize("gain", [0.25, 1.0, 4.0])
def test_a_chain_of_known_gain_has_that_slope(gain):
    capture = depth(lambda: orthogonal(gain))
    steps = len(capture.modules) - 2
    inner = slice(0, -1)
    forward = np.polyfit(np.arange(steps + 1), capture.forward[:, inner].mean(0), 1)[0]
    backward = np.polyfit(np.arange(steps + 1), capture.backward[:, inner].mean(0), 1)[0]
    assert forward == pytest.approx(math.log(gain), abs=1e-4)
    assert backward == pytest.approx(-math.log(gain), abs=1e-4)


def test_changes_are_in_decades_with_their_interval():
    capture = depth(lambda: orthogonal(0.25))
    value, error = capture.change(capture.forward)
    assert value == pytest.approx(12 * math.log10(0.25), rel=0.1)
    assert 0 < error < 1
    assert capture.beyond()
    assert not depth(lambda: orthogonal(1.0)).beyond()
    assert capture.limit == pytest.approx(-0.5 * math.log10(2**-23))
    assert decode(encode(capture)).modules == capture.modules


def test_zeros_are_vanished_and_left_out():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.branch, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 2)

        def forward(self, x):
            x = self.stem(x)
            return self.head(x + 0.0 * self.branch(x))

    capture = depth(Gated)
    branch = capture.modules.index("branch")
    assert capture.vanished[:, branch].all()
    assert np.isnan(capture.backward[:, branch]).all()
    assert capture.shallow() is None or "four" in capture.shallow()


def test_an_instance_is_measured_once():
    model, (x, y) = mlp(8, 8, 8, 2), regression(8)
    setup = Setup(model, Batch((x,), targets=y), functional.mse_loss)
    capture = depth_profile(Subject("given", lambda seed: setup, fresh=False), BUDGETS["standard"], 0)
    assert capture.draws == 1
    assert not capture.fresh


class Linear(nn.Module):
    """A linear recurrence that multiplies the state's norm by ``gain`` at every step, by module calls or by ``nn.RNN``."""

    def __init__(self, gain, loop):
        super().__init__()
        self.loop = loop
        self.rnn = nn.RNN(3, 6, batch_first=True, nonlinearity="relu")
        self.i, self.h, self.out = nn.Linear(3, 6), nn.Linear(6, 6, bias=False), nn.Linear(6, 2)
        nn.init.orthogonal_(self.h.weight, gain=gain)

    def forward(self, x):
        if not self.loop:
            return self.out(self.rnn(x)[0][:, -1])
        state = x.new_zeros(len(x), 6)
        for t in range(x.shape[1]):
            state = self.i(x[:, t]) + self.h(state)
        return self.out(state)


def sequences(steps: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(16, steps, 3, generator=torch.Generator().manual_seed(0)), regression()[1]


def temporal(make, data=None) -> TemporalProfile:
    return temporal_profile(subject(make, data or sequences()), BUDGETS["quick"], 1)


@pytest.mark.parametrize("gain", [0.5, 1.0, 1.5])
def test_a_loop_of_known_gain_has_that_factor(gain):
    capture = temporal(lambda: Linear(gain, loop=True))
    found = {recurrence.module: recurrence for recurrence in capture.recurrences}
    assert set(found) == {"i", "h"}
    assert found["h"].steps == 20
    assert found["h"].factors() == pytest.approx(gain, rel=1e-3)
    assert found["h"].decades() == pytest.approx(19 * math.log10(gain), abs=1e-2)


def test_a_recurrent_module_is_measured_at_its_inputs():
    capture = temporal(lambda: Linear(1.0, loop=False))
    (recurrence,) = capture.recurrences
    assert (recurrence.module, recurrence.kind, recurrence.steps) == ("rnn", "RNN", 20)
    assert (recurrence.factors() < 0.9).all()
    assert (recurrence.decades() < -1).all()
    assert decode(encode(capture)).recurrences[0].norms.shape == (3, 20)


def test_time_is_the_first_axis_unless_the_module_says_otherwise():
    class First(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.out = nn.GRU(3, 6), nn.Linear(6, 2)

        def forward(self, x):
            return self.out(self.rnn(x.transpose(0, 1))[0][-1])

    (recurrence,) = temporal(First).recurrences
    assert recurrence.steps == 20


def test_a_model_without_time_is_not_applicable():
    with pytest.raises(NotApplicable, match="over time"):
        temporal(lambda: mlp(4, 8, 2), regression())
