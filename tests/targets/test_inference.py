"""Inputs guessed from the first layer."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from gradcheck_suite.core.errors import UsageError
from gradcheck_suite.subject import Batch, Setup
from gradcheck_suite.targets import subject_of


def shapes(setup: Setup) -> list[tuple[int, ...]]:
    return [tuple(value.shape) for value in setup.batch.args]


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda: nn.Linear(3, 2), [(4, 3)]),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), [(4, 48)]),
        (lambda: nn.Sequential(nn.Unflatten(1, (2, 3)), nn.Flatten(), nn.Linear(6, 2)), [(4, 6)]),
        (lambda: nn.Conv1d(2, 3, 3), [(4, 2, 64)]),
        (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 26 * 26, 2)), [(4, 1, 28, 28)]),
        (lambda: nn.Conv3d(1, 2, 3), [(2, 1, 8, 8, 8)]),
        (lambda: nn.Embedding(7, 3), [(4, 8)]),
        (lambda: nn.LSTM(3, 2, batch_first=True), [(4, 8, 3)]),
        (lambda: nn.GRU(3, 2), [(8, 4, 3)]),
        (lambda: nn.GRUCell(3, 2), [(4, 3)]),
        (lambda: nn.Bilinear(3, 4, 2), [(4, 3), (4, 4)]),
        (lambda: nn.MultiheadAttention(8, 2), [(8, 4, 8)] * 3),
        (lambda: nn.Transformer(8, 2, 1, 1, 16), [(8, 4, 8)] * 2),
        (lambda: nn.TransformerEncoderLayer(8, 2, 16), [(4, 8, 8)]),
        (lambda: nn.TransformerDecoderLayer(8, 2, 16), [(4, 8, 8)] * 2),
        (lambda: nn.LayerNorm((3, 4)), [(4, 3, 4)]),
        (lambda: nn.BatchNorm1d(3), [(4, 3)]),
        (lambda: nn.BatchNorm2d(3), [(4, 3, 8, 8)]),
        (lambda: nn.GroupNorm(2, 4), [(4, 4, 8, 8)]),
    ],
)
def test_inputs_are_guessed_from_the_first_layer(build: Callable[[], nn.Module], expected: list[tuple[int, ...]]) -> None:
    setup = subject_of(build).setup(2)
    assert shapes(setup) == expected
    setup.model(*setup.batch.args)


class Refuses(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.inner(x) * mask


class OfItself(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self) -> torch.Tensor:
        return self.weight.sum()


def test_inputs_that_cannot_be_guessed_are_asked_for() -> None:
    for build, words in (
        (nn.ReLU, "no layer"),
        (Refuses, "missing 1 required positional argument: 'mask'"),
        (lambda: nn.LazyLinear(2), "lazy"),
    ):
        with pytest.raises(UsageError, match=rf"(?s){words}.*--input 4x3x32x32"):
            subject_of(build).setup(0)
    assert subject_of(OfItself).setup(0).batch == Batch()


def test_guessing_leaves_an_instance_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert subject_of(model).setup(0).model is model
    assert model.training
    assert all(module.training for module in model)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
