"""What a call in Python says beside a target, on its way to a child process."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

from gradcheck_suite.core.errors import UsageError
from gradcheck_suite.targets import Options, Settings, subject_of
from gradcheck_suite.targets.carried import options_of
from gradcheck_suite.targets.subjects import settings_of


def made(seed):
    return torch.full((2, 3), float(seed))


def arrived(tmp_path, **given):
    """The batch on the other side."""
    return subject_of(nn.Identity, settings_of(options_of(Settings(**given), tmp_path), str(tmp_path))).setup(7).batch


def test_what_has_a_text_form_travels_as_text(tmp_path):
    assert options_of(Settings(), tmp_path) == Options()
    assert options_of(Settings(inputs=(8, 3), targets="long:8:4", loss="torch.nn:MSELoss", mode="eval"), tmp_path) == Options(
        inputs=("8x3",), targets="long:8:4", loss="torch.nn:MSELoss", mode="eval")
    assert options_of(Settings(inputs=made, loss=nn.functional.mse_loss), tmp_path) == Options(
        inputs=(f"{__name__}:made",), loss="torch.nn.functional:mse_loss")
    assert not list(tmp_path.iterdir())


def test_tensors_arrive_as_they_were_sent(tmp_path):
    x, ids, y = torch.randn(4, 3), torch.arange(4), torch.randn(4)
    batch = arrived(tmp_path, inputs=(x, {"deep": [ids]}), kwargs={"scale": 2.5, "mask": ids > 1}, targets={"y": y})
    assert torch.equal(batch.args[0], x)
    assert torch.equal(batch.args[1]["deep"][0], ids)
    assert batch.kwargs["scale"] == 2.5
    assert torch.equal(batch.kwargs["mask"], ids > 1)
    assert torch.equal(batch.targets["y"], y)


@pytest.mark.parametrize("inputs", [torch.ones(2, 3), {"input": torch.ones(2, 3)}, (2, 3), "double:2x3"])
def test_every_form_of_inputs_means_the_same_on_both_sides(tmp_path, inputs):
    here = subject_of(nn.Identity, Settings(inputs=inputs)).setup(7).batch
    there = arrived(tmp_path, inputs=inputs)
    assert here.kwargs.keys() == there.kwargs.keys()
    for one, other in zip((*here.args, *here.kwargs.values()), (*there.args, *there.kwargs.values()), strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


def test_a_shape_beside_keyword_arguments_is_drawn_with_the_seed(tmp_path):
    here = subject_of(nn.Identity, Settings(inputs=(2, 3), kwargs={"n": 1})).setup(7).batch
    there = arrived(tmp_path, inputs=(2, 3), kwargs={"n": 1})
    assert torch.equal(here.args[0], there.args[0])
    assert there.kwargs == {"n": 1}


@pytest.mark.parametrize(("given", "message"), [
    ({"optimizer": torch.optim.SGD}, "an optimizer cannot be given(.|\\n)*Let the factory return it"),
    ({"kwargs": {"x": 1}}, "kwargs can be given to child processes only beside inputs"),
    ({"loss": lambda output, targets: output.sum()}, "given as loss, has no name(.|\\n)*Write loss=\"pkg.module:NAME\""),
    ({"loss": nn.MSELoss()}, "the loss is a torch.nn.modules.loss.MSELoss, which cannot be given"),
    ({"inputs": pack_sequence([torch.ones(2, 1)])}, "inputs and kwargs cannot be given(.|\\n)*Allowed: tensors"),
    ({"inputs": lambda: torch.ones(2)}, "given as inputs, has no name"),
])
def test_what_cannot_travel_is_refused_with_what_to_write(tmp_path, given, message):
    with pytest.raises(UsageError, match=message):
        options_of(Settings(**given), tmp_path)
