"""A folder with a module of models, as the working directory."""

import sys
from pathlib import Path

import pytest

MODELS = """
import torch
from torch import nn

def build(): return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
def mapped(): return {"model": build(), "inputs": torch.ones(5, 3), "targets": torch.zeros(5, 2), "loss": nn.functional.mse_loss}
def make(seed): return torch.full((2, 3), float(seed))
def loss(output, targets): return (output ** 2).sum()
def needs(width): return nn.Linear(width, 2)
def raises(): raise KeyError("no such width")
def leaves(): raise SystemExit(0)
def opens(): return open("weights.bin")
class Net(nn.Linear):
    def __init__(self): super().__init__(3, 2)
    @classmethod
    def wide(cls): return nn.Linear(3, 9)
net = Net()
pair = (nn.Linear(3, 2), torch.ones(1, 3))
class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x): return 2 * x
    @staticmethod
    def backward(ctx, g): return 2 * g
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "models_here.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path
