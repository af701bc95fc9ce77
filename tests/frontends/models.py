"""Small models with known verdicts, written to files for the front doors."""

SOUND = '''
import torch
import torch.nn as nn
import torch.nn.functional as F


def batch(seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(8, 6, generator=generator), torch.randint(0, 3, (8,), generator=generator)


def build():
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    return {"model": model, "batch": batch, "loss": F.cross_entropy}
'''

WRONG = SOUND + '''

class ScaledTanh(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        y = torch.tanh(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return 1.01 * grad * (1 - y * y)


class Tanh(nn.Module):
    def forward(self, x):
        return ScaledTanh.apply(x)


def build_wrong():
    return {"model": nn.Sequential(nn.Linear(6, 8), Tanh(), nn.Linear(8, 3)), "batch": batch, "loss": F.cross_entropy}


def crash():
    class Bad(nn.Module):
        def forward(self, x):
            import os

            os._exit(0)

    return Bad(), (torch.randn(2, 3),)


def raises():
    raise RuntimeError("no weights today")
'''
