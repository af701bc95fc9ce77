"""The recorded autograd graph: its nodes, its leaves, and which module and which line of the user's made a node."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.autograd.function import BackwardCFunction

from gradcheck_suite.probes.execution import hookable, tensors

Node = Any
_FRAME = re.compile(r'File "(.+?)", line (\d+)')
_TORCH = str(Path(torch.__file__).parent)
_OURS = str(Path(__file__).resolve().parents[1])


def nodes(*outputs: torch.Tensor) -> Iterator[Node]:
    """Every node behind the outputs, once each, nearest first."""
    waiting = [output.grad_fn for output in outputs if output.grad_fn is not None]
    seen = set(waiting)
    while waiting:
        node = waiting.pop(0)
        yield node
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                waiting.append(following)


def leaves(*outputs: torch.Tensor) -> list[torch.Tensor]:
    """The leaf tensors that a backward pass from the outputs would accumulate gradients in."""
    found = [node.variable for node in nodes(*outputs) if hasattr(node, "variable")]
    return found + [output for output in outputs if output.grad_fn is None and output.requires_grad]


def uses(*outputs: torch.Tensor) -> dict[int, list[Node]]:
    """The nodes that take each leaf tensor, once for every time they take it, by the identity of the tensor."""
    found: dict[int, list[Node]] = {}
    for node in nodes(*outputs):
        for following, _ in node.next_functions:
            if hasattr(following, "variable"):
                found.setdefault(id(following.variable), []).append(node)
    return found


def widest_epsilon(*outputs: torch.Tensor) -> float:
    """The largest distance from 1 to the next number of all floating formats that tensors of the graph are in; 0 without a graph."""
    found = {item.dtype for node in nodes(*outputs) for item in node._input_metadata}
    return max((torch.finfo(dtype).eps for dtype in found if dtype.is_floating_point or dtype.is_complex), default=0.0)


def name_of(node: Node) -> str:
    """The operation of a node: ``SqrtBackward0`` is ``sqrt``, ``_softmax`` is ``softmax``."""
    name = re.sub(r"Backward\d*$", "", str(node.name()).rpartition("::")[2])
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("_")


def custom_function(node: Node) -> type[torch.autograd.Function] | None:
    """The class of the custom ``autograd.Function`` that made the node, if one did."""
    return type(node)._forward_cls if isinstance(node, BackwardCFunction) else None  # type: ignore[attr-defined]


class Authors:
    """Which module made which node: each module, when it ends, signs the unsigned nodes between its output and its input."""

    def __init__(self, model: nn.Module) -> None:
        self._modules = dict(hookable(model))
        self._signed: dict[Node, str] = {}
        self._handles: list[Any] = []

    def __enter__(self) -> "Authors":
        for path, module in self._modules.items():
            self._handles.append(module.register_forward_hook(lambda _, given, output, path=path: self._sign(path, given, output)))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def of(self, node: Node) -> str | None:
        """Path of the innermost module that made the node; ``None`` for one made outside the model."""
        return self._signed.get(node)

    def _sign(self, path: str, given: Any, output: Any) -> None:
        borders = {tensor.grad_fn for tensor in tensors(given) if tensor.grad_fn is not None}
        waiting = [tensor.grad_fn for tensor in tensors(output) if tensor.grad_fn is not None]
        while waiting:
            node = waiting.pop()
            if node in self._signed or node in borders:
                continue
            self._signed[node] = path
            waiting.extend(following for following, _ in node.next_functions if following is not None)


def source_of(node: Node) -> str | None:
    """``file:line`` of the user's code that made the node, where the graph was recorded in anomaly mode."""
    lines = node.metadata.get("traceback_")
    return source_in("".join(lines)) if lines else None


def source_in(traceback: str) -> str | None:
    """``file:line`` of the deepest frame in a traceback's text that is neither torch's nor ours."""
    frames = [(file, line) for file, line in _FRAME.findall(traceback) if not file.startswith((_TORCH, _OURS, "<frozen"))]
    return f"{frames[-1][0]}:{frames[-1][1]}" if frames else None
