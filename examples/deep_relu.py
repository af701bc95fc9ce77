"""Thirty plain ReLU layers: with torch's default initialisation the gradient vanishes, with He's it does not.

    gradcheck audit examples/deep_relu.py:build_default
    gradcheck audit examples/deep_relu.py:build_he
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


def network(depth=30, width=64):
    layers = []
    for _ in range(depth):
        layers += [nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def batch(seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(16, 64, generator=generator), torch.randint(0, 10, (16,), generator=generator)


def build_default():
    return {"model": network(), "batch": batch, "loss": F.cross_entropy}


def build_he():
    model = network()
    for module in model:
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
    return {"model": model, "batch": batch, "loss": F.cross_entropy}
