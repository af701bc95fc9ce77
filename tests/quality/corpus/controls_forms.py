"""Correct models of awkward form: nested results, writes in place, shared and frozen parts, custom Functions, unusual inputs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from .case import Control, Expression, Facts, facts


@dataclass
class Result:
    """A result as a dataclass."""

    logits: Tensor
    hidden: tuple[Tensor, ...]
    choice: Tensor


class Pair(NamedTuple):
    """A result as a named tuple."""

    left: Tensor
    right: Tensor


def two(forward: Callable[..., Any], *inputs: Tensor, **named: Any) -> Facts:
    """A forward over dense layers ``a`` (three to four) and ``b`` (four to four)."""
    model = Expression(forward, a=nn.Linear(3, 4), b=nn.Linear(4, 4))
    return facts(model, *(inputs or (torch.randn(4, 3),)), **named)


def written(m: Any, x: Tensor) -> Tensor:
    """Writes a slice of a copy, and adds in place."""
    y = m.a(x).clone()
    y[:, 1:3] = torch.sin(m.b(m.a(x))[:, :2])
    y += 1
    return y


def preallocated(m: Any, x: Tensor) -> Tensor:
    """Fills a buffer of zeros row by row."""
    y = x.new_zeros(x.shape[0], 4)
    for i in range(x.shape[0]):
        y[i] = torch.tanh(m.a(x[i]))
    return y


def frozen() -> Facts:
    """The first layer is frozen."""
    found = two(lambda m, x: m.b(torch.tanh(m.a(x))))
    found["model"].a.requires_grad_(False)
    return found


def tied() -> Facts:
    """Two modules share one weight."""
    found = two(lambda m, x: m.c(torch.tanh(m.b(m.a(x)))))
    found["model"].c = nn.Linear(4, 4).double()
    found["model"].c.weight = found["model"].b.weight
    return found


def named_inputs() -> Facts:
    """All inputs by name, one of them absent, one not a tensor."""

    def forward(m: Any, x: Tensor, *, gate: Tensor, mask: Tensor | None = None, scale: float = 1.0) -> Tensor:
        y = scale * m.a(x) * torch.sigmoid(gate)
        return y if mask is None else y * mask

    found = two(forward)
    inputs = {"x": torch.randn(4, 3).double(), "gate": torch.randn(4, 4).double(), "mask": None, "scale": 2.0}
    return found | {"inputs": inputs}


def forces(m: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """An energy and its gradient, both outputs."""
    with torch.enable_grad():
        point = x if x.requires_grad else x.detach().requires_grad_()
        energy = torch.tanh(m.b(torch.tanh(m.a(point)))).sum(1)
        (force,) = torch.autograd.grad(energy.sum(), point, create_graph=True)
    return energy, force


class WithIndex(Function):
    """Maximum along the last axis and its place; the place is no differentiable output."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        value, place = x.max(-1, keepdim=True)
        ctx.save_for_backward(place)
        ctx.features = x.shape[-1]
        ctx.mark_non_differentiable(place)
        return value, place

    @staticmethod
    def backward(ctx: Any, g: Tensor, _: Tensor) -> Tensor:
        return g.new_zeros(*g.shape[:-1], ctx.features).scatter(-1, ctx.saved_tensors[0], g)


class Once(Function):
    """A square that says it cannot be differentiated twice."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return 2 * ctx.saved_tensors[0] * g


class Lazy(Function):
    """Two outputs; gradients that are absent stay ``None``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x)
        return x.sin(), x.cos()

    @staticmethod
    def backward(ctx: Any, gs: Tensor | None, gc: Tensor | None) -> Tensor | None:
        (x,) = ctx.saved_tensors
        terms = [g for g in (None if gs is None else gs * x.cos(), None if gc is None else -gc * x.sin()) if g is not None]
        return sum(terms[1:], terms[0]) if terms else None


class InPlace(Function):
    """Doubles its input in place, and says so."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.mark_dirty(x)
        return x.mul_(2)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return 2 * g


class Parts(nn.Module):
    """A module list, a module dict and a scalar parameter, some of it never used."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
        self.heads = nn.ModuleDict({"used": nn.Linear(3, 2), "unused": nn.Linear(3, 5)})
        self.scale, self.idle = nn.Parameter(torch.tensor(0.5)), nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps:
            x = x + self.scale * torch.tanh(step(x))
        return self.heads["used"](x)


def hooked() -> Facts:
    """A forward hook that changes the output, legitimately."""
    found = two(lambda m, x: m.b(torch.tanh(m.a(x))))
    found["model"].a.register_forward_hook(lambda module, inputs, output: output * 1.5 + 0.1)
    return found


def scripted() -> Facts:
    """A scripted part."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    return facts(nn.Sequential(torch.jit.trace(model, torch.randn(4, 3).double()), nn.Softplus()), torch.randn(4, 3))


def _form(name: str, trait: str, build: Callable[[], Facts], **rest: Any) -> Control:
    return Control(id=f"forms/{name}", trait=trait, build=build, **rest)


CONTROLS = (
    _form(
        "nested-results",
        "dicts in lists in tuples",
        lambda: two(lambda m, x: ({"a": m.a(x), "b": [torch.tanh(m.b(m.a(x)))]}, m.a(x).sum())),
    ),
    _form(
        "dataclass-result", "whole numbers among the outputs", lambda: two(lambda m, x: Result(m.b(m.a(x)), (m.a(x),), m.a(x).argmax(-1)))
    ),
    _form("named-tuple", "two outputs", lambda: two(lambda m, x: Pair(m.a(x), m.b(torch.tanh(m.a(x)))))),
    _form("slices-written", "writes in place", lambda: two(written)),
    _form("rows-preallocated", "fills a buffer", lambda: two(preallocated)),
    _form(
        "activation-in-place",
        "overwrites what came in",
        lambda: facts(nn.Sequential(nn.Linear(3, 4), nn.SiLU(inplace=True), nn.ELU(inplace=True), nn.Linear(4, 2)), torch.randn(4, 3)),
    ),
    _form("called-twice", "one module at two places", lambda: two(lambda m, x: m.b(torch.tanh(m.b(torch.tanh(m.a(x))))))),
    _form("called-never", "a module that is not run", lambda: two(lambda m, x: torch.tanh(m.a(x)))),
    _form("tied-weights", "one parameter, two modules", tied),
    _form("frozen-part", "requires_grad off", frozen),
    _form("parts", "scalar, unused and listed parameters", lambda: facts(Parts(), torch.randn(4, 3))),
    _form("named-inputs", "keywords, None and numbers", named_inputs),
    _form(
        "input-transposed",
        "not contiguous",
        lambda: two(lambda m, x: m.b(torch.tanh(m.a(x)))) | {"inputs": (torch.randn(3, 4).double().t(),)},
    ),
    _form(
        "input-expanded",
        "one row, expanded",
        lambda: two(lambda m, x: m.b(torch.tanh(m.a(x)))) | {"inputs": (torch.randn(1, 3).double().expand(4, 3),)},
    ),
    _form("input-empty", "no rows", lambda: facts(nn.Sequential(nn.Linear(3, 2), nn.Tanh()), torch.randn(0, 3))),
    _form("input-returned", "an input among the outputs", lambda: two(lambda m, x: (x, m.a(x)))),
    _form("views-returned", "outputs that share memory", lambda: two(lambda m, x: m.a(x).chunk(2, -1))),
    _form(
        "summed-loss", "an expanded cotangent", lambda: two(lambda m, x: m.b(torch.tanh(m.a(x))), targets=None, loss=lambda y, t: y.sum())
    ),
    _form(
        "transposed-loss",
        "a transposed cotangent",
        lambda: two(lambda m, x: m.b(torch.tanh(m.a(x))), targets=torch.randn(4, 4), loss=lambda y, t: (y.t() @ t).square().mean()),
    ),
    _form("einsum", "contractions", lambda: two(lambda m, x: torch.einsum("bi,bj,ij->b", m.a(x), m.b(m.a(x)), m.b.weight))),
    _form("vmapped", "per-sample by vmap", lambda: two(lambda m, x: torch.vmap(lambda row: torch.tanh(row @ m.a.weight.t()).prod())(x))),
    _form("forces", "a gradient inside the forward", lambda: two(forces)),
    _form(
        "function-with-index", "an output that cannot be differentiated", lambda: two(lambda m, x: m.b(m.a(x)) * WithIndex.apply(m.a(x))[0])
    ),
    _form("function-once", "no second derivative", lambda: two(lambda m, x: Once.apply(m.a(x)))),
    _form("function-lazy", "gradients that are None", lambda: two(lambda m, x: Lazy.apply(m.a(x))[0])),
    _form("function-in-place", "marks its input dirty", lambda: two(lambda m, x: torch.tanh(InPlace.apply(m.a(x).clone())))),
    _form("forward-hook", "changes the output", hooked),
    _form("traced-part", "a traced submodule", scripted),
    _form(
        "cut-constant",
        "a detached running scale that is a constant",
        lambda: two(lambda m, x: m.a(x) / functional.softplus(torch.tensor(2.0, dtype=x.dtype)).detach()),
    ),
)
