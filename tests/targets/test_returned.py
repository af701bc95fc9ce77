"""What a factory may return, and what is said of anything else."""

from typing import Any

import pytest
import torch
from torch import nn

from gradcheck_suite.core.errors import UsageError
from gradcheck_suite.targets import subject_of

X = torch.ones(5, 3)


@pytest.mark.parametrize(
    ("value", "args", "kwargs"),
    [
        ((nn.Linear(3, 2), X), (X,), {}),
        ((nn.Linear(3, 2), (X, 1)), (X, 1), {}),
        ((nn.Linear(3, 2), (X,), {"flag": 1}), (X,), {"flag": 1}),
        ({"model": nn.Linear(3, 2), "inputs": {"x": X}}, (), {"x": X}),
        ({"model": nn.Linear(3, 2), "inputs": [X, X]}, ([X, X],), {}),
        ({"model": nn.Linear(3, 2), "inputs": (X,), "kwargs": {"a": 2}}, (X,), {"a": 2}),
        ({"model": nn.Linear(3, 2), "batch": lambda seed: (X * 0 + seed, None)}, (X * 0 + 9,), {}),
        ({"model": nn.LSTM(3, 2), "inputs": nn.utils.rnn.pack_sequence([X])}, (nn.utils.rnn.pack_sequence([X]),), {}),
    ],
)
def test_what_a_factory_may_return(value: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    batch = subject_of(lambda: value).setup(9).batch
    assert str(batch.args) == str(args)
    assert str(dict(batch.kwargs)) == str(kwargs)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "nothing .*return statement"),
        (nn.Linear, "Return an instance"),
        ([nn.Linear(3, 2), X], "tuple instead of a list"),
        (3, "returned a int"),
        ({"model": nn.Linear(3, 2), "input": X}, "Did you mean 'inputs'"),
        ({"model": nn.Linear(3, 2), 7: X}, "unknown key '7'"),
        ({"inputs": X}, "'model' is nothing"),
        ({"model": nn.Linear(3, 2), "loss": 3}, r"loss\(output, targets\)"),
        ({"model": nn.Linear(3, 2), "steps": 0, "inputs": X}, "1 or more"),
        ({"model": nn.Linear(3, 2), "steps": True, "inputs": X}, "'steps'"),
        ({"model": nn.Linear(3, 2), "batch": lambda s: (X, None), "inputs": X}, "one or the other"),
        ({"model": nn.Linear(3, 2), "intended": ["a"], "inputs": X}, "'intended'"),
        ({"model": nn.Linear(3, 2), "inputs": X, "kwargs": 3}, "a mapping"),
        ({"model": nn.Linear(3, 2), "batch": lambda: (X, None)}, "TypeError"),
    ],
)
def test_what_a_factory_may_not_return(value: Any, words: str) -> None:
    with pytest.raises(UsageError, match=rf"(?s){words}"):
        subject_of(lambda: value, name="it").setup(0)
