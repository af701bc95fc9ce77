"""Attention blocks: probabilities, masks, scales, positions, windows, and keys cut off by mistake."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from .case import Case, Facts, drawn, facts, setting


class Attend(Function):
    """``softmax(scale * q kᵀ + mask) v`` over ``(batch, tokens, width)``."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        mask = torch.full((q.shape[1], k.shape[1]), float("-inf"), dtype=q.dtype).triu(1)
        p = torch.softmax(scale * q @ k.transpose(1, 2) + mask, -1)
        ctx.save_for_backward(q, k, v, p)
        ctx.scale = scale
        return p @ v

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, p = ctx.saved_tensors
        return _attend(q, k, v, p, g, ctx.scale)


def _attend(q: Tensor, k: Tensor, v: Tensor, p: Tensor, g: Tensor, scale: float) -> tuple[Tensor | None, ...]:
    errors = g @ v.transpose(1, 2)
    scores = scale * p * (errors - (errors * p).sum(-1, keepdim=True))
    return scores @ k, scores.transpose(1, 2) @ q, p.transpose(1, 2) @ g, None


class DiagonalOnly(Attend):
    """The softmax's derivative without its off-diagonal part."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, p = ctx.saved_tensors
        scores = ctx.scale * p * (g @ v.transpose(1, 2)) * (1 - p)
        return scores @ k, scores.transpose(1, 2) @ q, p.transpose(1, 2) @ g, None


class UnmaskedRecompute(Attend):
    """Recomputes the probabilities for the backward and forgets the mask."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, _ = ctx.saved_tensors
        return _attend(q, k, v, torch.softmax(ctx.scale * q @ k.transpose(1, 2), -1), g, ctx.scale)


class DefaultScale(Attend):
    """One over the root of the width, whatever scale was asked for."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, p = ctx.saved_tensors
        return _attend(q, k, v, p, g, q.shape[-1] ** -0.5)


class FirstKeyLost(Attend):
    """No gradient for the first key."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, none = Attend.backward(ctx, g)
        assert k is not None
        return q, torch.cat([torch.zeros_like(k[:, :1]), k[:, 1:]], 1), v, none


class Core(nn.Module):
    """Scaled dot-product attention, causal; the scale defaults to one over the root of the width."""

    def __init__(self, scale: float | None = None, function: type[Function] = Attend) -> None:
        super().__init__()
        self.scale, self.function = scale, function

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scale = q.shape[-1] ** -0.5 if self.scale is None else self.scale
        return self.function.apply(q, k, v, scale)


class Rotate(Function):
    """Rotary positions: pairs of features turned by an angle that grows with the position."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _rotate(x, 1.0)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return _rotate(g, -1.0)


def _rotate(x: Tensor, sign: float) -> Tensor:
    angle = sign * torch.arange(x.shape[1], dtype=x.dtype)[:, None] * 10.0 ** -torch.arange(x.shape[2] // 2, dtype=x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


class RotateForward(Rotate):
    """Turns the gradient the same way as the values, not back."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return _rotate(g, 1.0)


class Rotary(nn.Module):
    """Rotary positional embedding."""

    def __init__(self, function: type[Function] = Rotate) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(x)


class Attention(nn.Module):
    """One head with rotary positions; ``cut_keys`` detaches the keys."""

    def __init__(self, width: int, core: Core, rotary: Rotary, *, cut_keys: bool = False) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.rotary, self.core, self.out, self.cut_keys = rotary, core, nn.Linear(width, width), cut_keys

    def forward(self, x: Tensor) -> Tensor:
        k = self.rotary(self.k(x))
        if self.cut_keys:
            k = k.detach()
        return self.out(self.core(self.rotary(self.q(x)), k, self.v(x)))


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, width: int, attention: nn.Module) -> None:
        super().__init__()
        self.norm, self.attention, self.second = nn.LayerNorm(width), attention, nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 6), nn.GELU(), nn.Linear(6, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm(x))
        return x + self.mlp(self.second(x))


def block(core: type[Function] = Attend, rotary: type[Function] = Rotate, *, cut_keys: bool = False) -> Facts:
    """A block between an embedding and a head; the block is ``1``."""
    attention = Attention(4, Core(function=core), Rotary(rotary), cut_keys=cut_keys)
    return facts(nn.Sequential(nn.Linear(3, 4), Block(4, attention), nn.Linear(4, 2)), torch.randn(2, 4, 3))


class Lookup(Function):
    """``table[index]``: relative positions share rows of the table."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.shape = table.shape
        return table[index]

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        return g.new_zeros(ctx.shape).index_put((ctx.saved_tensors[0],), g, accumulate=True), None


class LookupOverwrites(Lookup):
    """Pairs at the same distance overwrite each other's gradient."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        return g.new_zeros(ctx.shape).index_put((ctx.saved_tensors[0],), g, accumulate=False), None


class WindowSum(Function):
    """Sums over windows of ``size`` tokens, the last one padded with zeros."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int) -> Tensor:
        ctx.tokens, ctx.size = x.shape[1], size
        padded = nn.functional.pad(x, (0, 0, 0, -x.shape[1] % size))
        return padded.unflatten(1, (-1, size)).sum(2)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        return g.repeat_interleave(ctx.size, 1)[:, : ctx.tokens], None


class WindowTail(WindowSum):
    """Tokens of an incomplete last window get no gradient."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        tail = torch.arange(ctx.tokens) >= ctx.tokens // ctx.size * ctx.size
        full = g.repeat_interleave(ctx.size, 1)[:, : ctx.tokens]
        return full.masked_fill(tail[:, None], 0.0), None


class RelativeAttention(nn.Module):
    """Attention with a learnt bias per distance."""

    def __init__(self, width: int, tokens: int, function: type[Function]) -> None:
        super().__init__()
        self.qkv, self.table, self.function = nn.Linear(width, 3 * width), nn.Parameter(torch.randn(2 * tokens - 1)), function

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        place = torch.arange(x.shape[1])
        bias = self.function.apply(self.table, place[:, None] - place + len(self.table) // 2)
        return torch.softmax(q @ k.transpose(1, 2) * 0.5 + bias, -1) @ v


class Pooled(nn.Module):
    """Windows summed and read out."""

    def __init__(self, size: int, function: type[Function]) -> None:
        super().__init__()
        self.size, self.function = size, function

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(torch.tanh(x), self.size)


def relative(function: type[Function]) -> Facts:
    """The layer in question is ``attention`` of block ``0``."""
    return facts(nn.Sequential(Block(4, RelativeAttention(4, 4, function)), nn.Linear(4, 2)), torch.randn(2, 4, 4))


def windowed(function: type[Function]) -> Facts:
    """The layer in question is ``1``; four tokens fill two windows."""
    return facts(nn.Sequential(nn.Linear(3, 4), Pooled(2, function), nn.Linear(4, 2)), torch.randn(2, 4, 3))


def _case(name: str, bug: Any, twin: Any, module: str, **rest: Any) -> Case:
    return Case(**({"id": f"attention/{name}", "trigger": "always", "bug": bug, "twin": twin, "module": module} | rest))


CORE = "1.attention.core"
CASES = (
    _case("softmax-diagonal", partial(block, DiagonalOnly), block, CORE, function="DiagonalOnly"),
    _case("recompute-unmasked", partial(block, UnmaskedRecompute), block, CORE, function="UnmaskedRecompute"),
    _case("first-key-lost", partial(block, FirstKeyLost), block, CORE, function="FirstKeyLost"),
    _case("default-scale", partial(block, DefaultScale), block, CORE, function="DefaultScale", trigger="hyper-parameter",
          needs="configuration", witness=setting(CORE, scale=0.2)),
    _case("rotated-forward", partial(block, rotary=RotateForward), block, "1.attention.rotary", function="RotateForward"),
    _case("keys-detached", partial(block, cut_keys=True), block, "1.attention"),
    _case("relative-bias-overwritten", partial(relative, LookupOverwrites), partial(relative, Lookup), "0.attention",
          function="LookupOverwrites", parameter="table", trigger="duplicates and ties"),
    _case("window-tail", partial(windowed, WindowTail), partial(windowed, WindowSum), "1", function="WindowTail", trigger="shape",
          needs="configuration", witness=drawn((2, 5, 3))),
)
