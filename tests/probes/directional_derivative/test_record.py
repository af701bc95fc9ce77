"""Record: calls with arguments, outputs, inner calls, and what is changed later."""

import pytest
import torch
from torch import nn

from gradcheck_suite.probes.directional_derivative.generators import Generators, sources
from gradcheck_suite.probes.directional_derivative.record import Recorder, module_paths
from tests.probes.directional_derivative.models import Formula, call_of


def run(model, *inputs, **options):
    recorder = Recorder(module_paths(model), **options)
    with torch.enable_grad():
        output = recorder.run(lambda: model(*inputs))
    return recorder, output


def test_calls_nest_in_order_of_execution():
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Tanh(), nn.Linear(2, 1)))
    recorder, output = run(model, torch.ones(1, 2))
    assert [call.path for call in recorder.calls] == ["", "0", "1", "1.0", "1.1"]
    assert [call.path for call in call_of(recorder.calls, "1").inner] == ["1.0", "1.1"]
    assert torch.equal(recorder.calls[0].output.leaves[0], output)


def test_what_carried_a_gradient_is_known():
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    recorder, _ = run(model, torch.ones(1, 2))
    assert call_of(recorder.calls, "0").carried == [False]
    assert call_of(recorder.calls, "1").carried == [True]
    assert call_of(recorder.calls, "1").given == [True]


def test_calls_outside_of_autograd_are_marked():
    def forward(module, x):
        with torch.no_grad():
            return module.part(x)

    recorder, _ = run(Formula(forward, part=nn.Linear(2, 2)), torch.ones(1, 2))
    assert not call_of(recorder.calls, "part").differentiable


def test_tensors_changed_in_place_later_are_noticed_and_copied_on_request():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))
    model[0].bias.data.fill_(-10.0)
    recorder, _ = run(model, torch.ones(1, 2))
    assert recorder.rewritten()
    apart, output = run(model, torch.ones(1, 2), apart=True)
    assert not apart.rewritten()
    assert not torch.equal(call_of(apart.calls, "0").output.leaves[0], output)


def test_generator_states_are_kept_where_asked():
    every = Generators(sources([])[:1])
    recorder, _ = run(nn.Sequential(nn.Dropout(), nn.Dropout()), torch.ones(8), generators=every)
    first, second = (call_of(recorder.calls, path).state for path in ("0", "1"))
    assert not torch.equal(first[0], second[0])


def test_keyword_arguments_are_rebuilt():
    model = Formula(lambda _, x, scale=None: x * scale["by"])
    recorder = Recorder(module_paths(model))
    recorder.run(lambda: model(torch.ones(1), scale={"by": torch.full((1,), 3.0)}))
    args, kwargs = recorder.calls[0].invocation([torch.zeros(1), torch.ones(1)])
    assert args[0].item() == 0.0
    assert kwargs["scale"]["by"].item() == 1.0


def test_the_innermost_failing_call_is_known():
    def fail(_, x):
        raise ArithmeticError("refused")

    model = nn.Sequential(nn.Sequential(nn.Identity(), Formula(fail)))
    recorder = Recorder(module_paths(model))
    with pytest.raises(ArithmeticError):
        recorder.run(lambda: model(torch.ones(1)))
    assert recorder.failed == "0.1"
