"""Calls in a row: counters that change the result are seen, counters that count and states that are carried are not accused."""

import pytest
import torch
from torch import nn

from gradcheck_suite.captures.codec import decode, encode
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.errors import NotApplicable, SubjectError
from gradcheck_suite.probes.repeated_calls import repeated_calls
from gradcheck_suite.subject import Batch, Setup, Subject

QUICK = BUDGETS["quick"]


class Steps(nn.Module):
    """Two layers, and between them a step that gets the module and the hidden values."""

    def __init__(self, step):
        super().__init__()
        self.body, self.head, self.step = nn.Linear(3, 4), nn.Linear(4, 2), step
        self.calls, self.flag, self.memory, self.log, self.ticks = 0, False, None, [], torch.tensor(0)

    def forward(self, x):
        self.calls += 1
        self.ticks += 1
        return self.head(self.step(self, self.body(x)))


def seen(step, *, training=False, rows=5):
    model = Steps(step).train(training)
    made = Setup(model=model, batch=Batch((torch.linspace(-1, 1, 3 * rows).reshape(rows, 3),)))
    before = {name: value for name, value in vars(model).items() if name in ("calls", "flag", "memory")} | {"log": list(model.log)}
    found = repeated_calls(Subject("s", lambda seed: made, fresh=False), QUICK, 3)
    assert {name: getattr(model, name) for name in before} == before
    assert int(model.ticks) == 0
    assert decode(encode(found)) == found
    return found


def hooked(model, h):
    """The gradient alone depends on the count."""
    odd = model.calls % 2
    h = h * 1.0
    h.register_hook(lambda g: g if odd else 2 * g)
    return h


def toggled(model, h):
    model.flag = not model.flag
    return h if model.flag else torch.tanh(h)


def logged(model, h):
    model.log.append(1)
    return h * len(model.log)


def other_layers(model, h):
    return h if model.calls % 3 else torch.nn.functional.relu(model.head.weight @ h.mT).mT @ model.head.weight


@pytest.mark.parametrize("step", [
    lambda model, h: h if model.calls % 2 else 2 * h,
    lambda model, h: h * (1 + 1e-7 * model.calls),
    lambda model, h: h * (1 + int(model.ticks)),
    hooked, toggled, logged, other_layers,
])
def test_a_count_that_changes_the_result_is_seen(step):
    found = seen(step)
    assert [calls.mode for calls in found.modes] == ["eval"]
    assert found.modes[0].differing > 0
    assert found.modes[0].what


def test_the_first_layer_that_changes_is_named():
    assert seen(lambda model, h: h * model.calls).modes[0].module == "head"
    assert seen(hooked).modes[0].what == "the gradient of body"


def remembered(model, h):
    """A state that is carried along with its graph cut, as stateful recurrent networks do."""
    h = h if model.memory is None else h + model.memory
    model.memory = h.detach()
    return torch.tanh(h)


def collected(model, h):
    """A cache of tensors that grows."""
    model.log.append(h.detach())
    return torch.stack(model.log).mean(0)


def flagged(model, h):
    """A flag that says a tensor is there: the two cannot be taken apart."""
    h = h + model.memory.mean() if model.flag else h
    model.memory, model.flag = h.detach(), True
    return h


def initialised(model, h):
    """The first call sets what later ones use."""
    if not model.flag:
        model.flag = True
        return 2 * h
    return h


@pytest.mark.parametrize("step", [lambda model, h: h, lambda model, h: torch.dropout(h, 0.5, True), remembered, collected, initialised])
@pytest.mark.parametrize("training", [False, True])
def test_what_is_legitimate_is_not_accused(step, training):
    found = seen(step, training=training)
    assert [calls.mode for calls in found.modes] == (["train", "eval"] if training else ["eval"])
    assert not any(calls.differing for calls in found.modes)


def test_a_state_that_cannot_be_taken_apart_is_not_judged():
    found = seen(flagged)
    assert found.modes == ()
    assert "carries" in found.unread[0][1]


def test_a_schedule_in_train_mode_is_told_from_one_in_eval_mode():
    found = seen(lambda model, h: h * model.calls if model.training else h, training=True)
    assert [bool(calls.differing) for calls in found.modes] == [True, False]


def test_a_model_that_fails_when_called_again_says_so():
    def once(model, h):
        if model.calls == 3:
            raise LookupError("thrice was enough")
        return h

    with pytest.raises(SubjectError, match="thrice was enough"):
        seen(once)


def test_an_empty_batch_is_not_compared():
    with pytest.raises(NotApplicable, match="empty"):
        seen(lambda model, h: h, rows=0)
