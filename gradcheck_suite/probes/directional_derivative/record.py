"""Record: one forward pass, every module call with its arguments, outputs, inner calls and, where they moved, generators."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from gradcheck_suite.probes.directional_derivative.generators import Generators, State
from gradcheck_suite.probes.directional_derivative.interception import Proceed, intercepted
from gradcheck_suite.probes.directional_derivative.trees import Tree

Paths = dict[int, tuple[nn.Module, str]]


class Call:
    """One call of one module.

    Attributes:
        module, path: what was called; the path is the model's own.
        arguments: the positional and keyword arguments as one tree; its leaves are detached.
        keywords: names of the keyword arguments, the last items of that tree.
        carried: per leaf, whether it carried a gradient in place.
        differentiable: whether gradients were recorded around the call.
        inner: the calls made directly inside it.
        output: the output as a tree of detached leaves; ``None`` while the call runs or if it raised.
        given: per output leaf, whether it carried a gradient in place.
        state: the moved generators' states at the start, ``None`` where none moves.
        versions: tensors and their version counters, to recognise later in-place changes.
    """

    __slots__ = ("arguments", "carried", "differentiable", "given", "inner", "keywords", "module", "output", "path", "state", "versions")

    def __init__(self, module: nn.Module, path: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.module, self.path, self.keywords = module, path, tuple(kwargs)
        self.arguments = Tree((*args, *kwargs.values()))
        self.carried = [leaf.requires_grad for leaf in self.arguments.leaves]
        self.differentiable = torch.is_grad_enabled()
        self.inner: list[Call] = []
        self.output: Tree | None = None
        self.given: list[bool] = []
        self.state: State | None = None
        self.versions: list[tuple[torch.Tensor, int]] = []

    def invocation(self, leaves: list[torch.Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments with other leaves."""
        items = self.arguments.build(leaves)
        count = len(items) - len(self.keywords)
        return items[:count], dict(zip(self.keywords, items[count:], strict=True))


class Recorder:
    """Handler that records calls of the modules it is given with their paths.

    ``apart`` copies every tensor it keeps: needed where the model changes tensors in place after it has passed them on.
    ``generators`` are those whose state is kept at the start of every call. ``failed`` is the path of the innermost call
    out of which the last exception came.
    """

    def __init__(self, paths: Paths, apart: bool = False, generators: Generators | None = None) -> None:
        self.calls: list[Call] = []
        self._modules, self._paths = [module for module, _ in paths.values()], {key: path for key, (_, path) in paths.items()}
        self._apart, self._generators = apart, generators
        self._stack: list[Call] = []
        self._raised: Exception | None = None
        self.failed: str | None = None

    def run(self, function: Callable[[], Any]) -> Any:
        """Call ``function`` and record the module calls in it."""
        with intercepted(self._modules, self._handle):
            return function()

    def rewritten(self) -> bool:
        """Whether a recorded tensor has been changed in place since."""
        return any(tensor._version != version for call in self.calls for tensor, version in call.versions)

    def _handle(self, proceed: Proceed, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        path = self._paths.get(id(module))
        if path is None:
            return proceed(*args, **kwargs)  # of a copy that the model makes of a module
        if torch._C._functorch.peek_interpreter_stack() is not None:
            return proceed(*args, **kwargs)  # under vmap or grad: its tensors mean nothing outside
        call = Call(module, path, args, kwargs)
        if self._generators is not None:
            call.state = self._generators.read()
        call.arguments.leaves = self._kept(call, call.arguments.leaves)
        if self._stack:
            self._stack[-1].inner.append(call)
        self.calls.append(call)
        self._stack.append(call)
        try:
            output = proceed(*args, **kwargs)
        except Exception as error:
            if self._raised is not error:
                self._raised, self.failed = error, path
            raise
        finally:
            self._stack.pop()
        call.output = Tree(output)
        call.given = [leaf.requires_grad for leaf in call.output.leaves]
        call.output.leaves = self._kept(call, call.output.leaves)
        return output

    def _kept(self, call: Call, leaves: list[torch.Tensor]) -> list[torch.Tensor]:
        if self._apart:
            return [leaf.detach().clone() for leaf in leaves]
        kept = [leaf.detach() for leaf in leaves]
        call.versions.extend((leaf, leaf._version) for leaf in kept)
        return kept


def module_paths(root: nn.Module, prefix: str = "") -> Paths:
    """Every registered module and its path, by identity; a module registered twice keeps its first path."""
    return {id(module): (module, prefix + path if path else prefix.rstrip(".")) for path, module in root.named_modules()}
