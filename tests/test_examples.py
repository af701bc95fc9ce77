"""The examples do what their text says."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gradcheck_suite.core.evidence import Verdict
from gradcheck_suite.handwritten import check_network

EXAMPLES = Path(__file__).parent.parent / "examples"


def loaded(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def numpy_network():
    return loaded("numpy_network")


def wrong(report):
    return {(f.where.module, f.where.parameter): f for f in report.findings if f.verdict is Verdict.VIOLATED}


def test_the_numpy_network_runs_as_a_program():
    done = subprocess.run([sys.executable, EXAMPLES / "numpy_network.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("No requirement is violated") == 4
    assert done.stdout.count("1 requirement is violated") == 5


def test_each_mistake_of_the_numpy_network_is_named(numpy_network):
    assert set(wrong(numpy_network.check_functions(numpy_network.without_activation_derivative))) == {(None, "W1"), (None, "b1")}
    factors = wrong(numpy_network.check_functions(numpy_network.without_the_mean))
    assert set(factors) == {(None, name) for name in ("W1", "b1", "W2", "b2")}
    assert all("mean over 10 samples" in finding.evidence.note for finding in factors.values())
    row = wrong(numpy_network.check_functions(numpy_network.with_one_row_forgotten))
    assert "row 0 only, where it is zero" in row[None, "W2"].evidence.note
    assert set(wrong(numpy_network.check_layers(numpy_network.ForgetfulReLU))) == {("activation", "x")}
    assert set(wrong(numpy_network.check_layers(numpy_network.ReLU, second=numpy_network.SwappedDense))) == {("output", "x")}


def test_the_numpy_network_learns(numpy_network):
    parameters, (x, targets) = numpy_network.initial(seed=0), numpy_network.batch(seed=1)
    losses = []
    for _ in range(400):
        output, cache = numpy_network.forward(parameters, x)
        losses.append(numpy_network.cross_entropy(output, targets))
        gradients = numpy_network.backward(parameters, cache, numpy_network.cross_entropy_at_output(output, targets))
        numpy_network.update(parameters, gradients, 0.2)
    assert losses[-1] < 0.1 * losses[0]


def test_the_layers_of_the_numpy_network_are_those_of_its_functions(numpy_network):
    parameters, (x, targets) = numpy_network.initial(seed=0), numpy_network.batch(seed=1)
    first = numpy_network.Dense(parameters["W1"], parameters["b1"])
    second = numpy_network.Dense(parameters["W2"], parameters["b2"])
    relu = numpy_network.ReLU()
    output, cache = numpy_network.forward(parameters, x)
    error = numpy_network.cross_entropy_at_output(output, targets)
    np.testing.assert_allclose(second.forward(relu.forward(first.forward(x))), output)
    first.backward(relu.backward(second.backward(error)))
    gradients = numpy_network.backward(parameters, cache, error)
    np.testing.assert_allclose(first.grads["W"], gradients["W1"])
    np.testing.assert_allclose(second.grads["b"], gradients["b2"])
    assert check_network([first, relu, second], (numpy_network.cross_entropy, numpy_network.cross_entropy_at_output), x, targets).ok


def test_the_functions_of_the_tutorial_are_those_of_the_example():
    tutorial = (EXAMPLES.parent / "docs" / "handwritten.md").read_text(encoding="utf-8")
    program = (EXAMPLES / "numpy_network.py").read_text(encoding="utf-8")
    functions = [part.strip() for block in tutorial.split("```python")[1:] for part in block.split("```")[0].split("\n\n")
                 if part.strip().startswith("def ")]
    named = [text for text in functions if not text.startswith(("def value", "def gradient"))]
    assert len(named) == 4
    assert [text for text in named if text not in program] == []


def test_the_networks_through_depth_and_time_do_what_the_readme_says():
    depth = loaded("depth")

    def mean(measure, build, **options):
        return np.mean([measure(build, seed, **options) for seed in range(8)])

    assert mean(depth.stretch, depth.build_sigmoid) == pytest.approx(-37.7, abs=1.0)
    assert mean(depth.stretch, depth.build_tanh) == pytest.approx(-1.7, abs=1.0)
    assert mean(depth.stretch, depth.build_residual) == pytest.approx(30 * np.log10(1 + 1 / 30), abs=0.3)
    assert mean(depth.stretch, depth.build_batch_norm, samples=16) == pytest.approx(30 * np.log10(1.59), abs=0.7)
    assert 10 ** mean(depth.fading, depth.build_lstm) == pytest.approx(0.63, abs=0.05)
    assert 10 ** mean(depth.fading, depth.build_lstm_open) == pytest.approx(0.84, abs=0.05)
