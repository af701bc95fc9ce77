"""What surrounds the arithmetic: detached parts, values taken out of the graph, hooks, shared weights, custom operations, side effects."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from .case import Case, Facts, facts


class Residual(nn.Module):
    """A residual block with a choice of mistakes in its forward code."""

    def __init__(self, width: int, mistake: str = "") -> None:
        super().__init__()
        self.norm, self.up, self.down, self.mistake = nn.LayerNorm(width), nn.Linear(width, 6), nn.Linear(6, width), mistake
        self.gain = nn.Parameter(torch.tensor(0.8))

    def forward(self, x: Tensor) -> Tensor:
        gain: Any = self.gain
        match self.mistake:
            case "item":
                gain = self.gain.item()
            case "tensor":
                gain = torch.tensor(float(self.gain.detach()), dtype=x.dtype)
        h = self.down(torch.tanh(self.up(self.norm(x))))
        if self.mistake == "array":
            h = torch.from_numpy(h.detach().numpy().copy())
        if self.mistake == "hook" and h.requires_grad:
            h.register_hook(lambda g: 2 * g)
        return (x.detach() if self.mistake == "skip" else x) + gain * h


def residual(mistake: str = "") -> Facts:
    """Two blocks; the one in question is ``2``."""
    return facts(nn.Sequential(nn.Linear(3, 4), Residual(4), Residual(4, mistake), nn.Linear(4, 2)), torch.randn(4, 3))


class Positional(nn.Module):
    """Adds a learnt function of the position, in the bug computed under ``no_grad``."""

    def __init__(self, width: int, *, frozen: bool) -> None:
        super().__init__()
        self.table, self.frozen = nn.Linear(1, width), frozen

    def forward(self, x: Tensor) -> Tensor:
        place = torch.arange(x.shape[1], dtype=x.dtype)[:, None] / x.shape[1]
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            shift = torch.sin(self.table(place))
        return x + shift


class Features(nn.Module):
    """Returns logits and features, the features in the bug detached."""

    def __init__(self, *, cut: bool) -> None:
        super().__init__()
        self.body, self.head, self.cut = nn.Linear(3, 4), nn.Linear(4, 2), cut

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = torch.tanh(self.body(x))
        return {"logits": self.head(features), "features": features.detach() if self.cut else features}


class TiedModel(nn.Module):
    """Token table used twice: to embed and to read out; in the bug it is cut off where it reads out."""

    def __init__(self, *, once: bool) -> None:
        super().__init__()
        self.table, self.body, self.once = nn.Embedding(6, 4), nn.Linear(4, 4), once

    def forward(self, tokens: Tensor) -> Tensor:
        weight = self.table.weight.detach() if self.once else self.table.weight
        return torch.tanh(self.body(self.table(tokens))) @ weight.t()


def watched(factor: float) -> Facts:
    """A hook on the weight of ``2`` multiplies its gradient."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))
    found = facts(model, torch.randn(4, 3))
    if factor != 1:
        model[2].weight.register_hook(lambda g: factor * g)
    return found


def module_hook(*, clip: bool) -> Facts:
    """A full backward hook on ``2`` drops negative input gradients, as guided backpropagation does."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))
    if clip:
        model[2].register_full_backward_hook(lambda module, inputs, outputs: tuple(g.clamp_min(0) for g in inputs))
    return facts(model, torch.randn(4, 3))


class Limited(nn.Module):
    """In the bug the gradient that passes is limited to plus or minus fifty."""

    def __init__(self, *, limit: float) -> None:
        super().__init__()
        self.linear, self.limit = nn.Linear(4, 4), limit

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.linear(x))
        if y.requires_grad:
            y.register_hook(lambda g: g.clamp(-self.limit, self.limit))
        return y


def limited(limit: float) -> Facts:
    """The layer in question is ``1``; upstream gradients are of order one."""
    model = nn.Sequential(nn.Linear(3, 4), Limited(limit=limit), nn.Linear(4, 2))
    return facts(model, torch.randn(4, 3), targets=torch.randn(4, 2), loss=nn.functional.mse_loss)


def steep(found: Facts) -> Facts:
    """A witness: a loss ten thousand times as steep."""
    return found | {"loss": lambda output, targets: 1e4 * nn.functional.mse_loss(output, targets)}


LIBRARY = torch.library.Library("gradcheck_corpus", "DEF")
LIBRARY.define("decay(Tensor x, Tensor rate) -> Tensor")
LIBRARY.define("decay_wrong(Tensor x, Tensor rate) -> Tensor")


def _decay(x: Tensor, rate: Tensor) -> Tensor:
    return torch.exp(-rate * x)


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs, output)


def _decay_gradient(ctx: Any, g: Tensor) -> tuple[Tensor, ...]:
    x, rate, y = ctx.saved_tensors
    return -g * rate * y, (-g * x * y).sum_to_size(rate.shape)


def _decay_wrong(ctx: Any, g: Tensor) -> tuple[Tensor, ...]:
    """The rate's gradient forgets the factor ``x``."""
    _, rate, y = ctx.saved_tensors
    return -g * rate * y, (-g * y).sum_to_size(rate.shape)


for _name, _backward in {"decay": _decay_gradient, "decay_wrong": _decay_wrong}.items():
    LIBRARY.impl(_name, _decay, "CompositeExplicitAutograd")
    torch.library.register_autograd(f"gradcheck_corpus::{_name}", _backward, setup_context=_keep, lib=LIBRARY)


class Decay(nn.Module):
    """``exp(-rate * x)`` by a custom operation of ``torch.library``."""

    def __init__(self, width: int, operation: str = "decay") -> None:
        super().__init__()
        self.rate, self.operation = nn.Parameter(torch.rand(width) + 0.5), operation

    def forward(self, x: Tensor) -> Tensor:
        return getattr(torch.ops.gradcheck_corpus, self.operation)(x, self.rate)


class Negate(Function):
    """``-x``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return -x

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return -g


class NegateInPlace(Negate):
    """Negates the incoming gradient in place: whoever else receives that tensor gets it negated."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g.neg_()


class Opposite(nn.Module):
    """``-x`` as a module."""

    def __init__(self, function: type[Function]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(x)


class Difference(nn.Module):
    """``b(x) - a(x)``: with ``joined`` both terms receive the very same gradient tensor."""

    def __init__(self, function: type[Function], *, joined: bool = False) -> None:
        super().__init__()
        self.a, self.b, self.op, self.head, self.joined = nn.Linear(3, 4), nn.Linear(3, 4), Opposite(function), nn.Linear(4, 2), joined

    def forward(self, x: Tensor) -> Tensor:
        b = self.b(x)
        a = self.op(torch.tanh(self.a(x)))
        return self.head(b + a) if self.joined else self.head(a) + self.head(b)


def difference(function: type[Function], *, joined: bool = False) -> Facts:
    """The operation is ``op``."""
    return facts(Difference(function, joined=joined), torch.randn(4, 3))


def joined(found: Facts) -> Facts:
    """A witness: the sum's two terms share their gradient tensor."""
    found["model"].joined = True
    return found


def decays(operation: str) -> Facts:
    """The operation is in ``1``."""
    return facts(nn.Sequential(nn.Linear(3, 4), Decay(4, operation), nn.Linear(4, 2)), torch.randn(4, 3))


def positional(*, frozen: bool) -> Facts:
    """The layer in question is ``1``."""
    return facts(nn.Sequential(nn.Linear(3, 4), Positional(4, frozen=frozen), nn.Linear(4, 2)), torch.randn(2, 3, 3))


def features(*, cut: bool) -> Facts:
    """Two outputs, both floating."""
    return facts(Features(cut=cut), torch.randn(4, 3))


def tied(*, once: bool) -> Facts:
    """A language model of one layer."""
    return facts(TiedModel(once=once), torch.randint(6, (2, 3)))


def _case(name: str, bug: Any, twin: Any, module: str, **rest: Any) -> Case:
    return Case(**({"id": f"structure/{name}", "trigger": "always", "bug": bug, "twin": twin, "module": module} | rest))


CASES = (
    _case("gain-item", partial(residual, "item"), residual, "2", parameter="gain"),
    _case("gain-copied", partial(residual, "tensor"), residual, "2", parameter="gain"),
    _case("branch-through-array", partial(residual, "array"), residual, "2"),
    _case("branch-hook-doubles", partial(residual, "hook"), residual, "2"),
    _case("skip-detached", partial(residual, "skip"), residual, "2"),
    _case("positions-without-graph", partial(positional, frozen=True), partial(positional, frozen=False), "1"),
    _case("second-output-detached", partial(features, cut=True), partial(features, cut=False), ""),
    _case("tied-once", partial(tied, once=True), partial(tied, once=False), "", parameter="table.weight"),
    _case("weight-hook", partial(watched, 0.9), partial(watched, 1.0), "2", parameter="weight", relative_size=0.1),
    _case("guided-hook", partial(module_hook, clip=True), partial(module_hook, clip=False), "2"),
    _case("gradient-limited", partial(limited, 50.0), partial(limited, float("inf")), "1", trigger="cotangent magnitude",
          needs="configuration", witness=steep),
    _case("library-operation", partial(decays, "decay_wrong"), partial(decays, "decay"), "1", function="decay_wrong", parameter="rate"),
    _case("negated-in-place", partial(difference, NegateInPlace), partial(difference, Negate), "op", function="NegateInPlace",
          trigger="graph use", needs="configuration", witness=joined),
)
