"""Tables, bags, graphs and routing: duplicates, counts, permutations and experts."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from .case import Case, Facts, facts, given, setting


class Rows(Function):
    """``table[tokens]``."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, tokens: Tensor) -> Tensor:
        ctx.save_for_backward(tokens)
        ctx.shape = table.shape
        return table[tokens]

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        return g.new_zeros(ctx.shape).index_put((ctx.saved_tensors[0],), g, accumulate=True), None


class RowsAssigned(Rows):
    """A token that appears twice keeps the gradient of its last place."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        return g.new_zeros(ctx.shape).index_put((ctx.saved_tensors[0],), g), None


class Table(nn.Module):
    """An embedding."""

    def __init__(self, rows: int, width: int, function: type[Function] = Rows) -> None:
        super().__init__()
        self.weight, self.function = nn.Parameter(torch.randn(rows, width)), function

    def forward(self, tokens: Tensor) -> Tensor:
        return self.function.apply(self.weight, tokens)


class Places(Function):
    """``x + table``, one row of the table for every position."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, table: Tensor) -> Tensor:
        return x + table[: x.shape[1]]

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        return g, g.sum(0)


class PlacesFirstSample(Places):
    """The table learns from the first sample alone."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        return g, g[0]


class Positions(nn.Module):
    """Learnt positions."""

    def __init__(self, length: int, width: int, function: type[Function] = Places) -> None:
        super().__init__()
        self.table, self.function = nn.Parameter(torch.randn(length, width)), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(x, self.table)


def reader(rows: type[Function] = Rows, places: type[Function] = Places) -> Facts:
    """Tokens (all distinct), positions, a dense layer."""
    model = nn.Sequential(Table(9, 3, rows), Positions(4, 3, places), nn.Tanh(), nn.Linear(3, 2))
    return facts(model, torch.randperm(9)[:8].view(2, 4))


class BagMean(Function):
    """Mean of the rows of each bag; ``offsets`` tells where bags begin."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, bag: Tensor, counts: Tensor) -> Tensor:
        ctx.save_for_backward(bag, counts)
        return rows.new_zeros(len(counts), rows.shape[1]).index_add(0, bag, rows) / counts[:, None]

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        bag, counts = ctx.saved_tensors
        return (g / counts[:, None])[bag], None, None


class BagLongest(BagMean):
    """Divides by the size of the longest bag."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        bag, counts = ctx.saved_tensors
        return (g / counts.max())[bag], None, None


class Bags(nn.Module):
    """Bags of tokens, given flat with their offsets, averaged."""

    def __init__(self, rows: int, width: int, function: type[Function] = BagMean) -> None:
        super().__init__()
        self.table, self.function, self.head = nn.Embedding(rows, width), function, nn.Linear(width, 2)

    def forward(self, tokens: Tensor, offsets: Tensor) -> Tensor:
        ends = torch.cat([offsets[1:], offsets.new_tensor([len(tokens)])])
        counts = ends - offsets
        bag = torch.repeat_interleave(torch.arange(len(offsets)), counts)
        return self.head(self.function.apply(self.table(tokens), bag, counts))


def bags(function: type[Function]) -> Facts:
    """Three bags of two."""
    return facts(Bags(7, 3, function), torch.tensor([0, 3, 1, 6, 5, 2]), torch.tensor([0, 2, 4]))


class Message(Function):
    """``A x`` of a graph layer, ``A`` not symmetric."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, adjacency: Tensor) -> Tensor:
        ctx.save_for_backward(adjacency)
        return adjacency @ x

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.saved_tensors[0].t() @ g, None


class MessageForward(Message):
    """The gradient travels along the edges, not against them: right only for undirected graphs."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.saved_tensors[0] @ g, None


class GraphLayer(nn.Module):
    """One round of messages."""

    def __init__(self, width: int, function: type[Function] = Message) -> None:
        super().__init__()
        self.linear, self.function = nn.Linear(width, width), function

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        return torch.tanh(self.function.apply(self.linear(x), adjacency))


class Graph(nn.Module):
    """Two rounds and a readout; the edges are an input of whole numbers."""

    def __init__(self, function: type[Function]) -> None:
        super().__init__()
        self.first, self.second, self.head = GraphLayer(3), GraphLayer(3, function), nn.Linear(3, 2)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        adjacency = edges.to(x.dtype)
        return self.head(self.second(self.first(x, adjacency), adjacency).sum(0))


def undirected() -> Tensor:
    """A ring of four nodes with one chord."""
    return torch.tensor([[0, 1, 1, 1], [1, 0, 1, 0], [1, 1, 0, 1], [1, 0, 1, 0]])


def graph(function: type[Function]) -> Facts:
    """An undirected graph; the layer in question is ``second``."""
    return facts(Graph(function), torch.randn(4, 3), undirected())


def directed(found: Facts) -> Facts:
    """A witness: a directed graph."""
    return found | {"inputs": (found["inputs"][0], torch.tensor([[0, 1, 1, 1], [0, 0, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0]]))}


class Restore(Function):
    """``x[order]``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor) -> Tensor:
        ctx.save_for_backward(order)
        return x[order]

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        return g[ctx.saved_tensors[0].argsort()], None


class RestoreSameOrder(Restore):
    """Permutes the gradient forward where the inverse is due."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        return g[ctx.saved_tensors[0]], None


class Shuffle(nn.Module):
    """A fixed permutation of the rows, a cycle of three and a fixed point."""

    def __init__(self, function: type[Function]) -> None:
        super().__init__()
        self.function = function
        self.order: Tensor
        self.register_buffer("order", torch.tensor([1, 2, 0, 3]))

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(x, self.order)


class Experts(nn.Module):
    """Top-one mixture: each row goes to its best expert, weighted by the gate, up to ``capacity`` rows per expert."""

    def __init__(self, width: int, capacity: int = 8, *, cut_gate: bool = False, dropped_gradient: bool = False) -> None:
        super().__init__()
        self.router, self.capacity = nn.Linear(width, 2), capacity
        self.experts = nn.ModuleList([nn.Linear(width, width), nn.Linear(width, width)])
        self.cut_gate, self.dropped_gradient = cut_gate, dropped_gradient

    def forward(self, x: Tensor) -> Tensor:
        gate, choice = torch.softmax(self.router(x), -1).max(-1, keepdim=True)
        if self.cut_gate:
            gate = gate.detach()
        out = x
        for number, expert in enumerate(self.experts):
            mine = choice[:, 0] == number
            kept = mine & (mine.cumsum(0) <= self.capacity)
            out = out + kept[:, None] * gate * expert(x)
            if self.dropped_gradient:  # the value is zero, its gradient is not
                late = (mine & ~kept)[:, None] * gate * expert(x)
                out = out + (late - late.detach())
        return out


def experts(**options: Any) -> Facts:
    """The mixture is ``1``."""
    return facts(nn.Sequential(nn.Linear(3, 4), Experts(4, **options), nn.Linear(4, 2)), torch.randn(6, 3))


def shuffled(function: type[Function]) -> Facts:
    """The permutation is ``1``."""
    return facts(nn.Sequential(nn.Linear(3, 4), Shuffle(function), nn.Tanh(), nn.Linear(4, 2)), torch.randn(4, 3))


def _case(name: str, bug: Any, twin: Any, module: str, **rest: Any) -> Case:
    return Case(**({"id": f"embedding/{name}", "trigger": "always", "bug": bug, "twin": twin, "module": module} | rest))


CASES = (
    _case("duplicate-token", partial(reader, RowsAssigned), reader, "0", function="RowsAssigned", parameter="weight",
          trigger="duplicates and ties", needs="input", witness=given(torch.tensor([[1, 4, 1, 0], [2, 4, 8, 4]]))),
    _case("positions-first-sample", partial(reader, places=PlacesFirstSample), reader, "1", function="PlacesFirstSample",
          parameter="table"),
    _case("longest-bag", partial(bags, BagLongest), partial(bags, BagMean), "", function="BagLongest", trigger="shape", needs="input",
          witness=given(torch.tensor([0, 3, 1, 6, 5, 2]), torch.tensor([0, 1, 4]))),
    _case("messages-forward", partial(graph, MessageForward), partial(graph, Message), "second", function="MessageForward",
          trigger="domain", needs="input", witness=directed),
    _case("permutation-not-inverted", partial(shuffled, RestoreSameOrder), partial(shuffled, Restore), "1", function="RestoreSameOrder"),
    _case("gate-detached", partial(experts, cut_gate=True), experts, "1"),
    _case("dropped-row-gradient", partial(experts, dropped_gradient=True), experts, "1", trigger="hyper-parameter",
          needs="configuration", witness=setting("1", capacity=1)),
)
