"""Recurrences: gated cells, a state-space scan, truncation, an initial state, and a workspace shared by two calls."""

from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from .case import Case, Facts, drawn, facts


class Scan(Function):
    """``h[t] = a[t] * h[t-1] + b[t]`` over ``(batch, time, features)``, from ``h0``."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, h0: Tensor) -> Tensor:
        states = [h0]
        for t in range(a.shape[1]):
            states.append(a[:, t] * states[-1] + b[:, t])
        h = torch.stack(states, 1)
        ctx.save_for_backward(a, h)
        return h[:, 1:].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        a, h = ctx.saved_tensors
        errors = _errors(a, g)
        return errors * h[:, :-1], errors, a[:, 0] * errors[:, 0]


def _errors(a: Tensor, g: Tensor) -> Tensor:
    """Gradient of the states, from the last to the first."""
    last = g.shape[1] - 1
    found = [g[:, last]]
    for t in range(last - 1, -1, -1):
        found.insert(0, g[:, t] + a[:, t + 1] * found[0])
    return torch.stack(found, 1)


class ScanShifted(Scan):
    """The error of step t decays by ``a[t]`` where ``a[t+1]`` belongs."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        a, h = ctx.saved_tensors
        errors = _errors(a.roll(1, 1), g)
        return errors * h[:, :-1], errors, a[:, 0] * errors[:, 0]


class ScanNoInitial(Scan):
    """Takes the first step's ``a`` for unused, as it is from a zero state, and the initial state for a constant."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        a, b, h0 = Scan.backward(ctx, g)
        assert a is not None
        return torch.cat([torch.zeros_like(a[:, :1]), a[:, 1:]], 1), b, h0


class StateSpace(nn.Module):
    """A gated linear recurrence; the initial state is an argument, zero by default."""

    def __init__(self, width: int, function: type[Function] = Scan) -> None:
        super().__init__()
        self.gate, self.value, self.function = nn.Linear(width, width), nn.Linear(width, width), function

    def forward(self, x: Tensor, h0: Tensor | None = None) -> Tensor:
        h0 = torch.zeros_like(x[:, 0]) if h0 is None else h0
        return self.function.apply(torch.sigmoid(self.gate(x)), self.value(x), h0)


class Sequence(nn.Module):
    """Dense, state space, dense."""

    def __init__(self, function: type[Function] = Scan) -> None:
        super().__init__()
        self.embed, self.mix, self.head = nn.Linear(2, 3), StateSpace(3, function), nn.Linear(3, 2)

    def forward(self, x: Tensor, h0: Tensor | None = None) -> Tensor:
        return self.head(self.mix(self.embed(x), h0))


def with_state(found: Facts) -> Facts:
    """A witness: an initial state that is not zero."""
    (x, *_) = found["inputs"]
    return found | {"inputs": (x, torch.randn(x.shape[0], 3, dtype=x.dtype))}


class Gates(Function):
    """The element-wise part of an LSTM cell: ``(gates, c) -> (h, c')``."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        i, f, o = (torch.sigmoid(part) for part in gates.chunk(4, -1)[:3])
        u = torch.tanh(gates.chunk(4, -1)[3])
        new = f * c + i * u
        ctx.save_for_backward(i, f, o, u, c, new)
        return o * torch.tanh(new), new

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gh: Tensor, gc: Tensor) -> tuple[Tensor | None, ...]:
        i, f, o, u, c, new = ctx.saved_tensors
        t = torch.tanh(new)
        gc = gc + gh * o * (1 - t * t)
        parts = [gc * u * i * (1 - i), gc * c * f * (1 - f), gh * t * o * (1 - o), gc * i * (1 - u * u)]
        return torch.cat(parts, -1), gc * f


class GatesCellOnly(Gates):
    """The cell's own gradient from later steps is dropped; only the hidden state's goes back."""

    @staticmethod
    def backward(ctx: Any, gh: Tensor, gc: Tensor) -> tuple[Tensor | None, ...]:
        return Gates.backward(ctx, gh, torch.zeros_like(gc))


class GatesOutput(Gates):
    """The output gate sees the cell, not its tanh."""

    @staticmethod
    def backward(ctx: Any, gh: Tensor, gc: Tensor) -> tuple[Tensor | None, ...]:
        gates, c = Gates.backward(ctx, gh, gc)
        _, _, o, _, _, new = ctx.saved_tensors
        i, f, _, u = gates.chunk(4, -1)
        return torch.cat([i, f, gh * new * o * (1 - o), u], -1), c


class Cell(nn.Module):
    """LSTM cell with a fused element-wise part."""

    def __init__(self, inputs: int, width: int, function: type[Function] = Gates) -> None:
        super().__init__()
        self.linear, self.function = nn.Linear(inputs + width, 4 * width), function

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        h, c = state
        return self.function.apply(self.linear(torch.cat([x, h], -1)), c)


class Reader(nn.Module):
    """Runs a cell over time and reads the last state; ``truncate`` cuts the state loose every so many steps."""

    def __init__(self, cell: Cell, width: int, truncate: int = 0) -> None:
        super().__init__()
        self.cell, self.head, self.width, self.truncate = cell, nn.Linear(width, 2), width, truncate

    def forward(self, x: Tensor) -> Tensor:
        state = (x.new_zeros(x.shape[0], self.width), x.new_zeros(x.shape[0], self.width))
        for t in range(x.shape[1]):
            if self.truncate and t and t % self.truncate == 0:
                state = (state[0].detach(), state[1].detach())
            state = self.cell(x[:, t], state)
        return self.head(state[0])


def reader(function: type[Function] = Gates, truncate: int = 0) -> Facts:
    """Three steps; the cell is ``cell``."""
    return facts(Reader(Cell(2, 3, function), 3, truncate), torch.randn(2, 3, 2))


class Workspace(Function):
    """Sigmoid whose output for the backward lives in the graph."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = torch.sigmoid(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        y = ctx.saved_tensors[0]
        return g * y * (1 - y)


class StaleWorkspace(Workspace):
    """Keeps the output in a cache by shape: a later call of the same shape overwrites it."""

    cache: ClassVar[dict[torch.Size, Tensor]] = {}

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = torch.sigmoid(x)
        StaleWorkspace.cache[x.shape] = y.detach()
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        y = StaleWorkspace.cache[g.shape]
        return g * y * (1 - y)


class Gate(nn.Module):
    """A sigmoid gate."""

    def __init__(self, function: type[Function]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(x)


class GatedUnit(nn.Module):
    """Minimal gated unit: a forget gate, then an input gate of the same shape."""

    def __init__(self, width: int, function: type[Function]) -> None:
        super().__init__()
        self.forget, self.update = nn.Linear(width, width), nn.Linear(width, width)
        self.first, self.second, self.candidate = Gate(function), Gate(function), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        kept = self.first(self.forget(x)) * x
        return kept + self.second(self.update(kept)) * torch.tanh(self.candidate(kept))


def gated(function: type[Function]) -> Facts:
    """The stale gate is ``1.first``: the second call overwrites what it kept."""
    return facts(nn.Sequential(nn.Linear(2, 3), GatedUnit(3, function), nn.Linear(3, 2)), torch.randn(4, 2))


def sequence(function: type[Function] = Scan) -> Facts:
    """The layer in question is ``mix``, from a zero state."""
    return facts(Sequence(function), torch.randn(2, 4, 2))


def _case(name: str, bug: Any, twin: Any, module: str, **rest: Any) -> Case:
    return Case(**({"id": f"recurrent/{name}", "trigger": "always", "bug": bug, "twin": twin, "module": module} | rest))


CASES = (
    _case("scan-shifted", partial(sequence, ScanShifted), sequence, "mix", function="ScanShifted", relative_size=0.3),
    _case("scan-initial-state", partial(sequence, ScanNoInitial), sequence, "mix", function="ScanNoInitial", trigger="zeros",
          needs="input", witness=with_state),
    _case("cell-gradient-dropped", partial(reader, GatesCellOnly), reader, "cell", function="GatesCellOnly"),
    _case("output-gate-raw-cell", partial(reader, GatesOutput), reader, "cell", function="GatesOutput", relative_size=2e-2),
    _case("state-cut-loose", partial(reader, truncate=3), reader, "", trigger="shape", needs="configuration", witness=drawn((2, 5, 2))),
    _case("workspace-overwritten", partial(gated, StaleWorkspace), partial(gated, Workspace), "1.first", function="StaleWorkspace",
          trigger="graph use", relative_size=0.3),
)
