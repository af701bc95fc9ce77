"""The inputs that were given beside a target, tried once."""

import pytest
import torch
from torch import nn

from gradcheck_suite.core.errors import TargetError
from gradcheck_suite.subject import Batch, Setup, Subject
from gradcheck_suite.targets.trial import tried


def subject(model, shape, loss=None, targets=None):
    def setup(seed):
        torch.manual_seed(seed)
        return Setup(model(), Batch((torch.randn(shape),), targets=targets), loss=loss)

    return Subject("mine", setup)


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        return self.fc(x)


def test_a_wrong_shape_is_told_with_module_line_and_what_the_model_takes():
    with pytest.raises(TargetError) as told:
        tried(subject(Own, (8, 4)), ("8x4",)).setup(0)
    text = str(told.value)
    assert "the model of mine does not run on the inputs that were given (8x4)" in text
    assert "shapes cannot be multiplied (8x4 and 3x2), in the module 'fc' (Linear)" in text
    assert f"Raised at {__file__}:" in text
    assert "it runs on --input 4x3" in text


def test_a_model_that_tells_no_shape_gets_the_form():
    class Silent(nn.Module):
        def forward(self, x):
            raise SystemExit(3)

    with pytest.raises(TargetError, match=r"SystemExit: 3(.|\n)*such as --input 4x3x32x32"):
        tried(subject(Silent, (8, 4)), ("8x4",)).setup(0)


def test_a_loss_that_does_not_fit_the_batch_asks_for_targets():
    with pytest.raises(TargetError, match=r"the loss of mine does not run(.|\n)*Write --targets"):
        tried(subject(Own, (4, 3), nn.functional.cross_entropy, torch.zeros(8, dtype=torch.int64)), ("4x3",)).setup(0)


def test_inputs_that_fit_are_tried_once_and_change_nothing():
    runs = []

    class Counting(Own):
        def forward(self, x):
            runs.append(x)
            return super().forward(x + torch.rand(1))

    plain = subject(Counting, (8, 3))
    checked = tried(plain, ("8x3",))
    for seed in (5, 6):
        mine, theirs = plain.setup(seed), checked.setup(seed)
        assert torch.equal(mine.batch.args[0], theirs.batch.args[0])
        assert torch.equal(mine.model.fc.weight, theirs.model.fc.weight)
        assert not theirs.model._forward_hooks
    assert len(runs) == 1
