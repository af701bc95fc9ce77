"""Healthy set-ups whose yardsticks are unusual: best at a constant output, with a teacher's, without any, not deep, with two heads."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.quality.test_set_ups import Parts, adam, classes, net, numbers, set_up, violated


class Critic(nn.Module):
    """What it says of real samples and of false ones, which are best told apart by two constants."""

    def __init__(self) -> None:
        super().__init__()
        self.body = net(8, 32, 1)

    def forward(self, real: Tensor, false: Tensor) -> tuple[Tensor, Tensor]:
        """Two (batch, 8) to two (batch, 1)."""
        return self.body(real), self.body(false)


class Student(nn.Module):
    """A small network and the frozen teacher whose outputs it is to have."""

    def __init__(self) -> None:
        super().__init__()
        self.teacher, self.body = net(8, 64, 4).requires_grad_(False), net(8, 16, 4)
        nn.init.normal_(self.teacher[-1].weight, std=2.0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, 8) to two (batch, 4)."""
        return self.body(x), self.teacher(x)


def critic() -> Parts:
    def loss(output: tuple[Tensor, Tensor], _: None) -> Tensor:
        return (functional.softplus(-output[0]) + functional.softplus(output[1])).mean()

    model = Critic()
    return {**set_up(model, None, None, loss, adam(2e-4)), "inputs": (numbers(64, 8) + 0.5, numbers(64, 8, seed=1))}


def distillation() -> Parts:
    x, _ = classes()
    return set_up(Student(), x, None, lambda output, _: functional.kl_div(
        functional.log_softmax(output[0], 1), functional.softmax(output[1], 1), reduction="batchmean"), adam(3e-3))


def equation() -> Parts:
    """u' = cos with u(0) = 0, at points of the loss's own: the model runs inside the loss, and its output is not asked for."""
    model = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))
    points = torch.linspace(0, 3, 32)[:, None]

    def residual(output: Tensor, targets: None) -> Tensor:
        at = points.to(output.dtype).requires_grad_()
        slope = torch.autograd.grad(model(at).sum(), at, create_graph=True)[0]
        return (slope - at.cos()).square().mean() + model(at[:1]).square().mean()

    return set_up(model, points, None, residual, adam(3e-3))


def three_layers() -> Parts:
    """PyTorch's default initialisation in a network that is not deep."""
    x = numbers(64, 6)
    return set_up(net(6, 32, 32, 1), x, x[:, :1] - x[:, 1:2] * x[:, 2:3], functional.mse_loss, adam(3e-3))


class Detector(nn.Module):
    """Two heads of small weights; the bias of one says that what it looks for is rare."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.classes, self.boxes = nn.Sequential(nn.Linear(8, 64), nn.ReLU()), nn.Linear(64, 10), nn.Linear(64, 4)
        for head in (self.classes, self.boxes):
            nn.init.normal_(head.weight, std=0.005)
        nn.init.constant_(self.classes.bias, -4.6)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, 8) to (batch, 10) and (batch, 4)."""
        features = self.body(x)
        return self.classes(features), self.boxes(features)


def detection() -> Parts:
    x, y = classes()
    found = functional.one_hot(y, 10).float()

    def loss(output: tuple[Tensor, Tensor], targets: Tensor) -> Tensor:
        return functional.binary_cross_entropy_with_logits(output[0], found.to(output[0].dtype)) + functional.mse_loss(output[1], targets)

    return set_up(Detector(), x, 0.1 * x[:, :4], loss, adam(3e-3))


@pytest.mark.parametrize("make", [critic, distillation, equation, three_layers, detection], ids=lambda make: make.__name__)
def test_a_healthy_set_up_is_left_alone(make: Callable[[], Parts]) -> None:
    assert violated(make) == []
