"""The functions that end a model: elementwise activations and softmaxes between the last layer and the output."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from gradcheck_suite.probes.execution import hookable
from gradcheck_suite.probes.graph import name_of

Tensor = torch.Tensor
Function = Callable[[Tensor], Tensor]

_SHAPE_ONLY = {"view", "unsafe_view", "reshape_alias", "squeeze", "unsqueeze", "alias", "clone", "to_copy", "contiguous"}


@dataclass(frozen=True, slots=True)
class Tail:
    """The functions, innermost first, and the tensor that enters them.

    ``shape`` is that of the tensor before the innermost function; ``view`` of the output after the outermost.
    """

    names: tuple[str, ...]
    functions: tuple[Function, ...]
    shape: torch.Size
    view: torch.Size
    module: str | None

    def apply(self, value: Tensor, dropped: int = 0) -> Tensor:
        """The output that a value before the functions gives, with the first ``dropped`` of them left out."""
        for function in self.functions[dropped:]:
            value = function(value)
        return value.reshape(self.view)


def tail_of(output: Tensor, makers: dict[Any, str]) -> Tail | None:
    """The functions that end the graph of a tensor; ``None`` where it ends in anything else, or they work across samples' axis.

    ``makers`` tells which module made a node (``grad_fn`` of a module's output -> path).
    """
    names: list[str] = []
    functions: list[Function] = []
    node, shape, module = output.grad_fn, output.shape, None
    while node is not None:
        name = name_of(node)
        made = _made(name, node)
        if made is None and name not in _SHAPE_ONLY:
            break
        following = node.next_functions[0][0] if node.next_functions else None
        if made is not None:
            names.insert(0, name)
            functions.insert(0, made)
            module, shape = makers.get(node, module), _shape(node, shape)
        elif functions and name not in ("alias", "clone", "to_copy", "contiguous"):
            break
        node = following
    batched = len(shape) > 0 and output.dim() > 0 and shape[0] == output.shape[0]
    return Tail(tuple(names), tuple(functions), shape, output.shape, module) if functions and batched else None


class Makers:
    """Which module's output a node of the graph is: hooks on the modules without children, while the context is open."""

    def __init__(self, model: nn.Module) -> None:
        self.paths: dict[Any, str] = {}
        self._bare = [(path, module) for path, module in hookable(model) if not list(module.children())]
        self._handles: list[Any] = []

    def __enter__(self) -> "Makers":
        for path, module in self._bare:
            self._handles.append(module.register_forward_hook(lambda _, __, output, path=path: self._note(path, output)))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _note(self, path: str, output: Any) -> None:
        if isinstance(output, Tensor) and output.grad_fn is not None:
            self.paths[output.grad_fn] = path


def _shape(node: Any, default: torch.Size) -> torch.Size:
    """The shape of what the node worked on, where it saved that."""
    for name in ("_saved_result", "_saved_self"):
        saved = getattr(node, name, None)
        if isinstance(saved, Tensor):
            return saved.shape
    return default


def _made(name: str, node: Any) -> Function | None:
    """The function of a node, rebuilt from what the node saved; ``None`` for one that does not bound or bend its input."""
    if name in ("softmax", "log_softmax"):
        dim = int(node._saved_dim)
        dim = dim - 2**64 if dim > 2**63 else dim
        return lambda x: torch.softmax(x, dim) if name == "softmax" else torch.log_softmax(x, dim)
    if name == "clamp":
        low, high = node._saved_min, node._saved_max
        return lambda x: torch.clamp(x, low, high)
    if name == "clamp_min":
        low = node._saved_min
        return lambda x: torch.clamp(x, min=low)
    if name == "hardtanh":
        low, high = node._saved_min_val, node._saved_max_val
        return lambda x: torch.clamp(x, low, high)
    if name == "elu":
        alpha, scale = float(node._saved_alpha), float(node._saved_scale)
        return lambda x: scale * nn.functional.elu(x, alpha)
    if name == "pow":
        exponent = node._saved_exponent
        return (lambda x: x**exponent) if exponent == 2 else None
    return _PLAIN.get(name)


_PLAIN: dict[str, Function] = {
    "sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu, "softplus": nn.functional.softplus, "abs": torch.abs,
    "exp": torch.exp, "hardsigmoid": nn.functional.hardsigmoid, "log_sigmoid": nn.functional.logsigmoid, "gelu": nn.functional.gelu,
    "silu": nn.functional.silu,
}
