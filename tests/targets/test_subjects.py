"""What a target names becomes a subject that seeds, builds afresh, and takes settings."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gradcheck_suite.core.errors import UsageError
from gradcheck_suite.subject import Batch, Setup, Subject
from gradcheck_suite.targets import Options, Settings, parse, resolve, subject_of

X = torch.ones(5, 3)


def shapes(setup: Setup) -> list[tuple[int, ...]]:
    return [tuple(value.shape) for value in setup.batch.args]


@pytest.mark.parametrize(
    "text",
    [
        "models_here:build",
        "models_here.py:build",
        "models_here.py:Net",
        "models_here.py:Net.wide",
        "models_here.py:net",
        "models_here.py:pair",
        "models_here.py:mapped",
    ],
)
def test_a_factory_a_class_and_an_instance_become_subjects(folder: Path, text: str) -> None:
    subject = resolve(parse(text))
    setup = subject.setup(1)
    assert isinstance(setup.model, nn.Module)
    assert shapes(setup)[0][-1] == 3
    assert (subject.name, subject.target) == (text, text)
    assert subject.fresh == (text not in ("models_here.py:net", "models_here.py:pair"))
    assert (subject.instance is None) == subject.fresh


def test_a_function_of_autograd_is_a_model_without_parameters(folder: Path) -> None:
    setup = resolve(parse("models_here.py:Double"), Options(inputs=("2x3",))).setup(0)
    x = setup.batch.args[0].requires_grad_()
    setup.model(x).sum().backward()
    assert torch.equal(x.grad, torch.full((2, 3), 2.0))


def test_the_same_seed_builds_the_same_and_another_another(folder: Path) -> None:
    subject = resolve(parse("models_here.py:build"))
    one, again, other = subject.setup(5), subject.setup(5), subject.setup(6)
    assert one.model is not again.model
    for mine, same, new in zip(one.model.parameters(), again.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(mine, same)
        assert not torch.equal(mine, new)
    assert torch.equal(one.batch.args[0], again.batch.args[0])


def test_every_global_generator_is_seeded() -> None:
    drawn: list[tuple[Any, ...]] = []

    def build() -> nn.Module:
        drawn.append((random.random(), float(np.random.rand()), float(torch.rand(()))))
        return nn.Linear(3, 2)

    subject = subject_of(build, Settings(inputs=(4, 3)))
    for seed in (1, 1, (1 << 62) + 3):
        subject.setup(seed)
    assert drawn[0] == drawn[1]
    assert not set(drawn[0]) & set(drawn[2])


def test_settings_win_over_the_factory() -> None:
    def build() -> dict[str, Any]:
        return {
            "model": nn.Sequential(nn.Linear(3, 2), nn.Dropout()),
            "inputs": X,
            "targets": X,
            "steps": 7,
            "intended": {"0": "why"},
        }

    def loss(output: Any, targets: Any) -> Any:
        return output.sum()

    setup = subject_of(build, Settings(inputs=(4, 3), loss=loss, targets=torch.zeros(4, 2), kwargs={"a": 1}, mode="eval")).setup(0)
    assert shapes(setup) == [(4, 3)]
    assert setup.batch.targets.shape == (4, 2)
    assert setup.batch.kwargs == {"a": 1}
    assert setup.loss is loss
    assert (setup.steps, setup.intended) == (7, {"0": "why"})
    assert not setup.model.training
    assert not setup.model[1].training  # type: ignore[index]


def test_a_subject_passes_and_may_be_adjusted() -> None:
    subject = Subject("mine", lambda seed: Setup(nn.Linear(3, 2), Batch((X,))))
    assert subject_of(subject).setup(0).batch.args[0] is X
    assert shapes(subject_of(subject, Settings(inputs=(2, 3)), name="other").setup(0)) == [(2, 3)]
    assert subject_of(lambda: subject).setup(0).batch.args[0] is X


@pytest.mark.parametrize("value", [3, None, [nn.Linear(3, 2)], X])
def test_what_cannot_be_audited_is_said_so(value: Any) -> None:
    with pytest.raises(UsageError, match="cannot be audited"):
        subject_of(value)


def test_a_loss_may_be_given_by_its_name_and_a_target_s_text_with_inputs_that_no_layer_tells():
    setup = subject_of("torch.nn:Identity", Settings(inputs=(2, 3), loss="torch.nn:MSELoss")).setup(0)
    assert setup.batch.args[0].shape == (2, 3)
    assert type(setup.loss).__name__ == "MSELoss"
