"""The functions: audit, assert_gradients; in this process, leaving the model as it was."""

import sys

import pytest
import torch
from torch import nn

from gradcheck_suite import Report, assert_gradients, audit, parametrize
from gradcheck_suite.core.errors import UsageError
from gradcheck_suite.core.text import report_text


class ScaledTanh(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        y = torch.tanh(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return 1.01 * grad * (1 - y * y)


class Wrong(nn.Module):
    def forward(self, x):
        return ScaledTanh.apply(x)


def test_a_sound_model_passes_and_is_left_bit_identical():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    assert_gradients(model, torch.randn(5, 4), budget="quick")
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert len(torch.random.get_rng_state()) == len(state)


def test_a_wrong_model_raises_with_module_function_and_file():
    with pytest.raises(AssertionError) as told:
        assert_gradients(nn.Sequential(nn.Linear(4, 3), Wrong()), torch.randn(5, 4), budget="quick")
    text = str(told.value)
    assert "ScaledTanh" in text
    assert "test_api.py" in text
    assert "1.01" in text


def test_audit_returns_a_report_that_writes_itself(tmp_path):
    report = audit(nn.Linear(3, 2), torch.randn(4, 3), select=["backprop-agreement"], budget="quick")
    assert isinstance(report, Report)
    assert report.ok
    assert report.to_json(tmp_path / "r.json").exists()
    assert report.to_html(tmp_path / "r.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert "<" in report._repr_html_()
    assert str(report) == report_text(report)
    assert str(report).startswith("No requirement is violated: 1 statement holds in Linear.")


@pytest.mark.parametrize(("arguments", "message"), [
    ({"target": 3}, "cannot be audited"),
    ({"target": nn.Linear(2, 2), "budget": "huge"}, "unknown budget 'huge'"),
    ({"target": nn.Linear(2, 2), "isolation": "process"}, "isolation needs a target string"),
    ({"target": nn.Linear(2, 2), "isolation": "magic"}, "unknown isolation"),
    ({"target": nn.Linear(2, 2), "selct": ["correctness"]}, "audit has no option 'selct'\nDid you mean 'select'"),
    ({"target": nn.Linear(2, 2), "select": ["nonsense"]}, "no property, family or symptom"),
])
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        audit(**arguments)


def test_misspelt_options_of_the_other_doors_are_refused_with_the_closest():
    with pytest.raises(UsageError, match="assert_gradients has no option 'bugdet'\nDid you mean 'budget'"):
        assert_gradients(nn.Linear(2, 2), torch.randn(3, 2), bugdet="quick")
    with pytest.raises(UsageError, match="parametrize has no option 'input'\nDid you mean 'inputs'"):
        parametrize(nn.Linear(2, 2), input=(3, 2))
    with pytest.raises(UsageError, match="unknown level 'warning'\nAllowed: requirement, indicator"):
        parametrize(nn.Linear(2, 2), fail_on="warning")


def test_an_instance_cannot_be_redrawn_and_the_report_says_so():
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    report = audit(model, torch.randn(2, 8), select=["gradient-scale-across-depth"], budget="quick")
    assert report.summary["not-applicable"] == 1


PICKY = """
import torch


class Net(torch.nn.Module):
    def forward(self, x, scale=1.0):
        assert (tuple(x.shape), scale) == ((2, 5), 3.0)
        return torch.tanh(x) * scale
"""


def test_isolated_and_in_this_process_the_same_batch_is_judged(tmp_path, monkeypatch):
    (tmp_path / "picky_net.py").write_text(PICKY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    x, y = torch.randn(2, 5), torch.randn(2, 5)
    for isolation in ("none", "process"):
        given = {"kwargs": {"scale": 3.0}, "targets": y, "loss": nn.functional.mse_loss, "isolation": isolation}
        report = audit("picky_net.py:Net", x, select=["finite-gradients"], budget="quick", **given)
        assert report.ok, str(report)
        assert report.run.command == ("audit", "picky_net.py:Net")
    with pytest.raises(UsageError, match="an optimizer cannot be given to child processes"):
        audit("picky_net.py:Net", x, optimizer=torch.optim.SGD, isolation="process")
