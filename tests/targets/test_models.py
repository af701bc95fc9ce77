"""A model made fit for probes: unwrapped, materialised, with values."""

import pytest
import torch
from torch import nn

from gradcheck_suite.core.errors import TargetError
from gradcheck_suite.targets import Settings, subject_of


def test_lazy_parts_get_their_shapes_and_the_callers_own_stay_lazy() -> None:
    mine = nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d())
    setup = subject_of(mine, Settings(inputs=(5, 3))).setup(0)
    assert setup.model[0].weight.shape == (4, 3)  # type: ignore[index,union-attr]
    assert setup.model.training
    assert float(setup.model[1].running_mean.abs().sum()) == 0.0  # type: ignore[index,union-attr,operator]
    assert mine[0].has_uninitialized_params()  # type: ignore[operator]
    assert subject_of(lambda: nn.LazyLinear(2), Settings(inputs=(5, 3))).setup(0).model.weight.shape == (2, 3)  # type: ignore[union-attr]


def test_wrappers_are_taken_off() -> None:
    inner = nn.Linear(3, 2)
    for wrapped in (nn.DataParallel(inner), torch.compile(inner), nn.DataParallel(torch.compile(inner))):  # type: ignore[arg-type]
        assert subject_of(wrapped).setup(0).model is inner
    scripted = torch.jit.script(nn.Linear(3, 2))
    assert subject_of(scripted, Settings(inputs=(4, 3))).setup(0).model is scripted


def test_a_module_below_itself_is_refused():
    def build():
        model = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.Tanh()))
        model[1].add_module("back", model)
        return model

    with pytest.raises(TargetError, match=r"(?s)the module '1\.back' is one that contains it \(the whole model\).*parent = \[parent\]"):
        subject_of(build, Settings(mode="train")).setup(0)


def test_a_module_in_two_places_is_no_cycle():
    shared = nn.Linear(3, 3)
    assert subject_of(lambda: nn.Sequential(shared, nn.Sequential(shared, nn.Tanh()), nn.Sequential(shared))).setup(0).model


def test_a_model_without_values_is_refused() -> None:
    with pytest.raises(TargetError, match=r"(?s)'weight' .* meta device.*to_empty"):
        subject_of(lambda: nn.Linear(3, 2, device="meta")).setup(0)
