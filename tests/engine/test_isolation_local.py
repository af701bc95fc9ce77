"""Captures made in this process: nothing of it, and nothing of the caller's model, is changed."""

import os
import random
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gradcheck_suite.core.budget import budget
from gradcheck_suite.core.errors import SubjectError, TargetError
from gradcheck_suite.engine.isolation.ambient import ambient_restored
from gradcheck_suite.engine.sources import LocalSource
from gradcheck_suite.targets import Settings, subject_of


class Meddles(nn.Module):
    """Changes whatever it can reach of the process, and of itself, in its forward pass."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(3, 4), nn.BatchNorm1d(4)
        self.folder, self.calls = folder, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        torch.manual_seed(1)
        random.seed(1)
        np.random.seed(1)
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(3)
        torch.use_deterministic_algorithms(True)
        torch.autograd.set_detect_anomaly(True)
        os.chdir(self.folder)
        os.environ["MEDDLED"] = "1"
        os.environ.pop("GC_KEPT", None)
        sys.argv[:] = ["hijacked"]
        sys.setrecursionlimit(sys.getrecursionlimit() + 1)
        warnings.simplefilter("ignore", ImportWarning)
        self.norm.eval()
        with torch.no_grad():
            self.linear.weight.mul_(2)
        return self.norm(self.linear(x)).float()


def world() -> dict[str, Any]:
    return {
        "torch": torch.get_rng_state().tolist(),
        "random": random.getstate(),
        "numpy": repr(np.random.get_state()),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "threads": torch.get_num_threads(),
        "grad": torch.is_grad_enabled(),
        "anomaly": torch.is_anomaly_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cwd": os.getcwd(),
        "environment": dict(os.environ),
        "argv": list(sys.argv),
        "recursion": sys.getrecursionlimit(),
        "filters": list(warnings.filters),
    }


def inside(model: nn.Module) -> list[Any]:
    tensors = [tensor.clone() for tensor in [*model.parameters(), *model.buffers()]]
    return [
        *[tensor.tolist() for tensor in tensors],
        *[module.training for module in model.modules()],
        *[None if p.grad is None else p.grad.tolist() for p in model.parameters()],
        *[p.requires_grad for p in model.parameters()],
        *[len(module._forward_hooks) + len(module._forward_pre_hooks) + len(module._backward_hooks) for module in model.modules()],
    ]


@pytest.mark.parametrize("mode", ["", "train", "eval"])
def test_an_audit_leaves_the_process_and_an_instance_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Any
) -> None:
    monkeypatch.setenv("GC_KEPT", "1")
    model = Meddles(tmp_path)
    model.linear.weight.grad = torch.ones(4, 3)
    before, own = world(), inside(model)
    source = LocalSource(subject_of(model, Settings(inputs=torch.ones(5, 3), mode=mode)), budget("quick"), 0)
    assert source.facts.parameters == 24
    for probe in ("structure", "backward_pass", "repeated_pass"):
        assert source.capture(probe) is source.capture(probe)
    assert world() == before
    assert inside(model) == own
    assert model.calls == 0


def test_a_default_device_is_put_back() -> None:
    with ambient_restored():
        torch.set_default_device("meta")
    assert torch.get_default_device() == torch.device("cpu")
    assert torch.ones(1).device == torch.device("cpu")


def test_the_working_directory_may_be_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with ambient_restored():
        os.chdir(tmp_path)


@pytest.mark.parametrize("error", [SystemExit(0), RuntimeError("no"), GeneratorExit])
def test_what_a_model_raises_is_its_own_failure(error: Any) -> None:
    class Raises(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise error

    source = LocalSource(subject_of(Raises, Settings(inputs=(4, 3))), budget("quick"), 0)
    for _ in range(2):
        with pytest.raises(GeneratorExit if error is GeneratorExit else SubjectError) as caught:
            source.capture("backward_pass")
    if isinstance(caught.value, SubjectError):
        assert caught.value.stage == "forward"


def test_a_build_that_fails_is_a_target_error_and_later_ones_are_the_subjects() -> None:
    builds: list[int] = []

    def build() -> nn.Module:
        builds.append(1)
        if len(builds) > 1:
            raise OSError("out of luck")
        return nn.Linear(3, 2)

    source = LocalSource(subject_of(build, Settings(inputs=(4, 3))), budget("quick"), 0)
    assert source.facts.modules == (("", "Linear"),)
    with pytest.raises(SubjectError, match="out of luck") as caught:
        source.capture("structure")
    assert caught.value.stage == "build"
    never = LocalSource(subject_of(lambda: 1 // 0, name="never"), budget("quick"), 0)  # type: ignore[arg-type, return-value]
    for _ in range(2):
        with pytest.raises(TargetError, match="never could not be built: ZeroDivisionError"):
            never.capture("structure")
