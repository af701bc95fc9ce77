"""A backward pass that misreads the layout of its gradient is told apart from one that mixes up samples."""

import pytest
import torch
from torch import nn

from gradcheck_suite import audit
from gradcheck_suite.core.evidence import Verdict


class Alike(torch.autograd.Function):
    """The identity. With one sample the memory of the gradient is read in the order of a contiguous tensor, or halved."""

    @staticmethod
    def forward(ctx, x, layout):
        ctx.layout = layout
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        if len(gradient) > 1:
            return gradient, None
        strides = torch.empty(gradient.shape).stride()
        return (gradient.as_strided(gradient.shape, strides) if ctx.layout else gradient / 2), None


class Layer(nn.Module):
    def __init__(self, layout):
        super().__init__()
        self.layout, self.weight = layout, nn.Parameter(torch.randn(3, 1))

    def forward(self, x):
        return Alike.apply(x * self.weight, self.layout)


class Tokens(nn.Module):
    """Channels first, then tokens with their channels last."""

    def __init__(self, layout):
        super().__init__()
        self.layer, self.head = Layer(layout), nn.LayerNorm(3)

    def forward(self, x):
        return self.head(self.layer(x).transpose(1, 2))


@pytest.mark.parametrize("layout", [True, False])
def test_a_misread_layout_is_named(layout):
    inputs = torch.randn(3, 3, 4, generator=torch.Generator().manual_seed(0))
    (finding,) = audit(lambda: Tokens(layout), (inputs,), select=("batch-additivity",), budget="quick").findings
    assert finding.verdict is Verdict.VIOLATED
    assert finding.where.module == "layer"
    assert ("misreads the layout of a gradient" in finding.message) is layout
