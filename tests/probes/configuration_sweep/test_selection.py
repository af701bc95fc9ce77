import torch
from torch import nn

from gradcheck_suite.probes.configuration_sweep.selection import swept, work, written
from gradcheck_suite.probes.directional_derivative.record import Recorder, module_paths


class Own(nn.Module):
    def __init__(self, *inner):
        super().__init__()
        self.inner = nn.ModuleList(inner)

    def forward(self, x):
        for part in self.inner:
            x = part(x)
        return x * 2


class Plain(nn.Sequential):
    """A sequence by another name."""


def calls(model, x):
    recorder = Recorder(module_paths(model))
    recorder.run(lambda: model(x))
    return recorder.calls


def test_what_somebody_wrote():
    hooked = nn.Linear(2, 2)
    hooked.register_forward_hook(lambda module, args, output: output)
    assert all(map(written, (Own(), hooked)))
    traced = torch.jit.trace(nn.Tanh(), torch.ones(2))
    assert not any(map(written, (nn.Linear(2, 2), nn.Sequential(), Plain(), traced)))


def test_equal_modules_are_swept_once_and_inner_ones_first():
    model = nn.Sequential(nn.Linear(3, 3), Own(nn.Linear(3, 3), Own()), Own(nn.Linear(3, 3), Own()), nn.Tanh())
    assert [call.path for call in swept(calls(model, torch.randn(2, 3)))] == ["1.inner.1", "1"]


def test_a_container_costs_what_is_inside_it():
    made = calls(Own(nn.Linear(100, 100), nn.Tanh()), torch.randn(50, 100))
    whole, *parts = made
    assert work(whole) > sum(map(work, parts)) > 50 * 100 * 100
