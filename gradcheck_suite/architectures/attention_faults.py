"""Faults that can be planted in attention. They need nothing but torch, for ``to_python`` prints them as they stand here."""

from typing import Any

import torch
from torch import Tensor, nn

from gradcheck_suite.architectures.faults import change_forward


def missing_scale(module: Any, strength: float) -> None:
    """Attention scores lack their division by the root of the head's size: query weights grow by the strength times that root."""
    attention = getattr(module, "self_attn", module)
    with torch.no_grad():
        for parameter in (attention.in_proj_weight, attention.in_proj_bias):
            parameter[: attention.embed_dim] *= strength * attention.head_dim**0.5


def float32_mask(module: nn.Module, strength: float) -> None:
    """Attention is given an additive mask of zeros in float32, whatever the dtype of the queries."""
    change_forward(module, lambda forward, module, x: masked_attention(module, x, torch.zeros(x.shape[1], x.shape[1], dtype=torch.float32)))


def masked_attention(module: Any, x: Tensor, mask: Tensor) -> Tensor:
    """The forward pass of an encoder layer, or of self-attention, with a mask."""
    if isinstance(module, nn.TransformerEncoderLayer):
        return nn.TransformerEncoderLayer.forward(module, x, src_mask=mask)
    return nn.MultiheadAttention.forward(module, x, x, x, need_weights=False, attn_mask=mask)[0]


class ForgetfulSoftmax(torch.autograd.Function):
    """The softmax over the last axis, whose backward pass forgets a part of the sum over the choices; its forward mode is right."""

    @staticmethod
    def forward(scores: Tensor, part: float) -> Tensor:
        """The softmax."""
        return torch.softmax(scores, -1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        """Keep the weights."""
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)
        ctx.part = inputs[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """p (g - (1 - part) <p, g>)."""
        (p,) = ctx.saved_tensors
        return p * (gradient - (1 - ctx.part) * (p * gradient).sum(-1, keepdim=True)), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, part: None) -> Tensor:
        """p (t - <p, t>)."""
        (p,) = ctx.saved_tensors
        derivative: Tensor = p * (tangent - (p * tangent).sum(-1, keepdim=True))
        return derivative


def forgetful_softmax(module: nn.Module, strength: float) -> None:
    """The backward pass of the attention's softmax forgets the strength's part of its sum over the choices."""
    attention: Any = getattr(module, "self_attn", module)
    kind = type(attention)

    def forward(self: Any, x: Tensor, *others: Tensor, attn_mask: Tensor | None = None, **options: Any) -> Any:
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1) if getattr(self, "causal", False) else attn_mask
        output = forgetful_attention(self, x, mask, strength)
        return (output, None) if others else output

    attention.__class__ = type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})


def forgetful_attention(module: Any, x: Tensor, mask: Tensor | None, part: float) -> Tensor:
    """Self-attention of (batch, time, features), written out around ``ForgetfulSoftmax``."""
    samples, time, features = x.shape
    projected = nn.functional.linear(x, module.in_proj_weight, module.in_proj_bias)
    q, k, v = projected.view(samples, time, 3, module.num_heads, features // module.num_heads).permute(2, 0, 3, 1, 4)
    scores = q @ k.transpose(-1, -2) / module.head_dim**0.5
    if mask is not None:
        scores = scores.masked_fill(mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    weights: Tensor = ForgetfulSoftmax.apply(scores, part)  # type: ignore[no-untyped-call]
    gathered: Tensor = module.out_proj((weights @ v).transpose(1, 2).reshape(x.shape))
    return gathered
