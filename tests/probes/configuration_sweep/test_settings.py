import pytest
import torch
from torch import nn

from gradcheck_suite.probes.configuration_sweep.defaults import absent_arguments, absent_settings
from gradcheck_suite.probes.configuration_sweep.draft import draft_of
from gradcheck_suite.probes.configuration_sweep.settings import SETTING, alternatives, settings
from gradcheck_suite.probes.directional_derivative.draws import Draws
from gradcheck_suite.probes.directional_derivative.record import Call

DRAWS = Draws(0)


def drafted(module, *args, **kwargs):
    return draft_of(Call(module, "m", args, kwargs))


@pytest.mark.parametrize(("value", "expected"), [
    (2.0, [1.0, 3.0, 0.1, 0.02]), (0.5, [0.25, 0.75, 1.0]), (0.0, [0.1, 0.5, 1.0]), (1e-5, [0.1, 1e-4]), (-1.0, [-0.5, -2.0]),
    (3, [4, 6, 1, 12, 2]), (1, [2, 4]), (-1, [0, 1, -2]), ("mean", ["sum", "none"]), ("unheard of", []), (float("inf"), []), (None, []),
])
def test_other_values_stay_near_and_keep_the_sign(value, expected):
    assert alternatives("name", value) == pytest.approx(expected) if value != "mean" else alternatives("name", value) == expected


def test_a_flag_is_flipped_only_where_both_values_are_ordinary():
    assert alternatives("causal", False) == [True]
    assert alternatives("detach_keys", False) == []


class Module(nn.Module):
    def __init__(self, scale: float | None = None, count: int = 2) -> None:
        super().__init__()
        self.scale, self.count, self.sizes = scale, count, (1, 2.0)

    def forward(self, x: torch.Tensor, state: torch.Tensor | None = None, power: float = 2.0) -> torch.Tensor:
        return x**power


def test_attributes_items_of_tuples_and_arguments_are_found():
    found = [change.text for change in settings(drafted(Module(), torch.randn(2, 3), power=3.0), DRAWS)]
    for start in ("scale = 0.2 for None", "count = 3 for 2", "sizes[0] = 2 for 1", "sizes[1] = 1.0 for 2.0", "argument 1.0 for 3.0"):
        assert start in found
    assert not any(text.startswith(("training", "_")) for text in found)
    assert all(change.axis == SETTING for change in settings(drafted(Module(), torch.randn(2, 3)), DRAWS))


def test_absent_settings_follow_the_annotation_of_the_constructor():
    assert dict(absent_settings(Module())) == {"scale": (0.2, 0.5)}
    assert dict(absent_settings(Module(scale=1.0))) == {}


@pytest.mark.parametrize("given", [(), (None,)], ids=["left out", "passed as None"])
def test_absent_tensors_are_given(given):
    draft = drafted(Module(), torch.randn(2, 3), *given)
    texts = {change.text: change for change in absent_arguments(draft, SETTING, DRAWS)}
    texts["state given, of the input's shape"].apply(draft)
    call, _ = draft.call()
    args, kwargs = call.invocation(call.arguments.leaves)
    state = args[1] if len(args) > 1 else kwargs["state"]
    assert state.shape == (2, 3)
    assert call.carried[1]


def test_a_setting_is_put_back():
    module = Module(count=2)
    draft = drafted(module, torch.randn(2, 3))
    change = next(change for change in settings(draft, DRAWS) if change.text.startswith("count"))
    change.apply(draft)
    with draft.applied():
        assert module.count == 3
    assert module.count == 2
