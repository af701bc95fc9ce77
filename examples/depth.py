"""The gradient through depth and time: six networks beside the plain ReLU layers of ``deep_relu.py``, and what is true of each.

    gradcheck audit examples/depth.py:build_sigmoid          vanishes: no initialisation of usual size saves it
    gradcheck audit examples/depth.py:build_tanh             Glorot's initialisation is nearly critical
    gradcheck audit examples/depth.py:build_batch_norm       explodes, whatever the scale of the weights
    gradcheck audit examples/depth.py:build_residual         cannot vanish, and grows by 1 + 1/L per block
    gradcheck audit examples/depth.py:build_lstm             loses 37 % of the gradient with every step back in time
    gradcheck audit examples/depth.py:build_lstm_open        a forget-gate bias of one keeps 84 % of it

    python examples/depth.py [DRAWS]                         the numbers, over fresh initialisations
"""

import math
import sys

import torch
import torch.nn as nn
import torch.nn.functional as F

DEPTH, WIDTH, STEPS = 30, 64, 60


def batch(seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(16, WIDTH, generator=generator), torch.randint(0, 10, (16,), generator=generator)


def sequences(seed):
    """The class is the sign of the first step: all that counts happened long ago."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(16, STEPS, 4, generator=generator)
    return x, (x[:, 0, 0] > 0).long()


def plain(activation, initialise, depth=DEPTH, norm=None):
    layers = []
    for _ in range(depth):
        layers += [nn.Linear(WIDTH, WIDTH), *([norm(WIDTH)] if norm else []), activation()]
    model = nn.Sequential(*layers, nn.Linear(WIDTH, 10))
    for module in model:
        if isinstance(module, nn.Linear):
            initialise(module.weight)
            nn.init.zeros_(module.bias)
    return model


def he(weight):
    nn.init.kaiming_normal_(weight, nonlinearity="relu")


class Block(nn.Module):
    """x + W₂ relu(W₁ x), with a branch of squared gain 1/L."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        he(self.first.weight)
        nn.init.normal_(self.second.weight, std=math.sqrt(1 / WIDTH / DEPTH))
        nn.init.zeros_(self.first.bias)
        nn.init.zeros_(self.second.bias)

    def forward(self, x):
        return x + self.second(F.relu(self.first(x)))


class Classifier(nn.Module):
    """An LSTM of one layer that answers at the last step."""

    def __init__(self, forget_bias=None):
        super().__init__()
        self.lstm, self.head = nn.LSTM(4, 32, batch_first=True), nn.Linear(32, 2)
        if forget_bias is not None:
            # PyTorch adds two biases per gate: the second one stays at zero
            for name, value in (("bias_ih_l0", forget_bias), ("bias_hh_l0", 0.0)):
                bias = getattr(self.lstm, name)
                nn.init.constant_(bias[32:64], value)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


def build_sigmoid():
    return {"model": plain(nn.Sigmoid, nn.init.xavier_normal_), "batch": batch, "loss": F.cross_entropy}


def build_tanh():
    return {"model": plain(nn.Tanh, nn.init.xavier_normal_), "batch": batch, "loss": F.cross_entropy}


def build_batch_norm():
    return {"model": plain(nn.ReLU, he, norm=nn.BatchNorm1d), "batch": batch, "loss": F.cross_entropy}


def build_residual():
    return {"model": nn.Sequential(*(Block() for _ in range(DEPTH))), "batch": batch, "loss": F.cross_entropy}


def build_lstm():
    return {"model": Classifier(), "batch": sequences, "loss": F.cross_entropy}


def build_lstm_open():
    return {"model": Classifier(forget_bias=1.0), "batch": sequences, "loss": F.cross_entropy}


def stretch(build, seed, samples=1):
    """log10 of ‖Jᵀu‖²/‖u‖² for a random cotangent u, over so many samples."""
    torch.manual_seed(seed)
    x = batch(seed)[0][:samples].requires_grad_()
    output = build()["model"](x)
    cotangent = torch.randn_like(output)
    (gradient,) = torch.autograd.grad(output, x, cotangent)
    return math.log10(gradient.square().sum() / cotangent.square().sum())


def fading(build, seed):
    """log10 of the gradient's norm at the first step over that at the last one, per step."""
    torch.manual_seed(seed)
    x, targets = sequences(seed)
    x.requires_grad_()
    F.cross_entropy(build()["model"](x), targets).backward()
    norms = x.grad.double().square().sum((0, 2)).sqrt()
    return math.log10(norms[0] / norms[-1]) / (STEPS - 1)


def told(name, values):
    """Mean and its error, at three standard errors."""
    values = torch.tensor(values, dtype=torch.float64)
    mean, error = float(values.mean()), 3 * float(values.std() / len(values) ** 0.5)
    print(f"{name:34} {mean:8.3f} ± {error:.3f}")


def main(draws=64):
    """Print every number of the README's table."""
    print(f"log10 of the squared gradient, input over output, {DEPTH} layers, {draws} initialisations")
    for build in (build_sigmoid, build_tanh, build_residual):
        told(build.__name__, [stretch(build, seed) for seed in range(draws)])
    told(build_batch_norm.__name__, [stretch(build_batch_norm, seed, samples=16) for seed in range(draws)])
    print(f"log10 of the factor per step, over {STEPS} steps")
    for build in (build_lstm, build_lstm_open):
        told(build.__name__, [fading(build, seed) for seed in range(draws)])


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
