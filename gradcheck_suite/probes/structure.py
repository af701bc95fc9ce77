"""Structure: run the model once and see what it is made of and whether it is a plain chain."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from gradcheck_suite.captures.structure import ModuleFact, Structure, Unit
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.probes import steps
from gradcheck_suite.probes.execution import Running, failures, filled, hookable, realise, tensors
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.subject import Subject

_CONVERSIONS = {"to", "float", "double", "contiguous", "type"}


def structure(subject: Subject, budget: Budget, seed: int) -> Structure:
    """What the model is made of (see ``captures.structure.Structure``).

    Raises:
        SubjectError: it could not be built, or its forward pass raised.
    """
    setup = filled(realise(subject, seed))
    model = setup.model
    tracer = ChainTracer(model, {path for path, _ in subject.architecture.walk()} if subject.architecture is not None else set())
    with preserved(model), torch.enable_grad(), Running(model) as running, tracer, failures("forward", running):
        inputs = tensors((setup.batch.args, dict(setup.batch.kwargs)))
        output = tracer.run(inputs, lambda: model(*setup.batch.args, **setup.batch.kwargs))
        tracer.finish(output)
    parameters = list(model.parameters())
    architecture = subject.architecture
    return Structure(
        modules=tuple(_fact(path, module) for path, module in model.named_modules()),
        parameters=sum(p.numel() for p in parameters), trainable=sum(p.numel() for p in parameters if p.requires_grad),
        order=tuple(tracer.order), chain=() if tracer.outside else tuple(tracer.chain), outside=tracer.outside,
        dtype=", ".join(sorted({str(p.dtype).removeprefix("torch.") for p in parameters})), training=model.training,
        initialization=None if architecture is None else architecture.initialization, architecture=architecture,
    )


def _fact(path: str, module: nn.Module) -> ModuleFact:
    own = list(module.parameters(recurse=False))
    return ModuleFact(path=path, class_name=type(module).__name__, parameters=sum(p.numel() for p in own),
                      trainable=sum(p.numel() for p in own if p.requires_grad), training=module.training)


@dataclass(frozen=True, slots=True)
class _KnownModule:
    """What is known of a module before it runs: its step, and the identity of its weight (0 without)."""

    unit: Unit
    weight: int

    @classmethod
    def of(cls, module: nn.Module, declared: bool) -> "_KnownModule | None":
        found = steps.module_step(module, declared=declared)
        if found is None:
            return None
        kind, settings = found
        weighted = kind in ("dense", "conv1d", "conv2d")
        fan_in, fan_out = steps.fans(module) if weighted else (0, 0)
        unit = Unit(path="", kind=kind, settings=settings, fan_in=fan_in, fan_out=fan_out, plain=steps.is_plain(module),
                    bias=steps.bias_state(module) if weighted else "absent")
        weight = getattr(module, "weight", None)
        return cls(unit, id(weight) if isinstance(weight, torch.Tensor) else 0)


class ChainTracer(TorchFunctionMode):
    """Follows one tensor through known modules and functions; the first thing that is not a link ends the chain.

    Known modules are opaque; inside any other module its function calls are seen, so that ``F.relu(self.fc(x))`` counts.
    ``outside`` tells, as a fact, what broke the chain. Modules whose path is ``declared`` are what their base class says even if
    their ``forward`` was changed.
    """

    def __init__(self, model: nn.Module, declared: Collection[str] = ()) -> None:
        super().__init__()
        self.model, self.outside = model, ""
        self.order: list[str] = []
        self.chain: list[Unit] = []
        self._paths = {id(module): path for path, module in model.named_modules()}
        self._known = {id(module): facts for path, module in model.named_modules()
                       if (facts := _KnownModule.of(module, path in declared)) is not None}
        self._parameters = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
        self._weights_used: set[int] = set()
        self._current: torch.Tensor | None = None
        self._alive: list[torch.Tensor] = []
        self._stack: list[nn.Module] = []
        self._called: list[int] = []
        self._opaque = 0
        self._handles: list[Any] = []

    def run(self, inputs: list[torch.Tensor], call: Any) -> Any:
        """Call the model with the hooks in place; ``inputs`` are the tensors among its arguments."""
        if len(inputs) == 1:
            self._current = inputs[0]
        else:
            self._break(f"the model takes {len(inputs)} tensors")
        for _, module in hookable(self.model):
            self._handles.append(module.register_forward_pre_hook(self._enter, with_kwargs=True, prepend=True))
            self._handles.append(module.register_forward_hook(self._leave, with_kwargs=True))
        try:
            return call()
        finally:
            for handle in self._handles:
                handle.remove()

    def finish(self, output: Any) -> None:
        """The output must be the end of the chain."""
        found = tensors(output)
        if len(found) != 1 or not isinstance(output, torch.Tensor):
            self._break(f"the model returns {len(found)} tensors in a {type(output).__name__}")
        elif not self.outside and found[0] is not self._current:
            self._break("the output is not the result of the last step")

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        given = kwargs or {}
        result = func(*args, **given)
        if not self._opaque and not self.outside and isinstance(result, torch.Tensor):
            self._function(func, args, given, result)
        return result

    def _function(self, func: Any, args: Any, kwargs: dict[str, Any], result: torch.Tensor) -> None:
        followed = [tensor for tensor in tensors((args, kwargs)) if id(tensor) not in self._parameters]
        place = self._place(self._paths[id(self._stack[-1])] if self._stack else "")
        name = getattr(func, "__name__", str(func))
        found = steps.function_step(func, args, kwargs)
        if name in _CONVERSIONS and result is self._current:
            return
        if not any(tensor is self._current for tensor in followed):
            self._break(f"{name} in {place} works on a tensor that is not the previous step's output")
        elif found is None or len(followed) > 1:
            self._break(f"{name} in {place} is not a known step of a chain")
        else:
            path = self._paths[id(self._stack[-1])] if self._stack else ""
            self._link(Unit(path=path, kind=found[0], settings=found[1]), followed[0], result)

    def __deepcopy__(self, memo: Any) -> "ChainTracer":
        return self  # a copy that the model makes of a module has the same hooks; they do not know it

    def _enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        if id(module) not in self._paths:
            self._break("the model runs a copy of one of its modules")
            return
        self._stack.append(module)
        self._called.append(0)
        self._opaque += id(module) in self._known
        if id(module) not in self._known and type(module).__module__.startswith("torch.nn.") and not list(module.children()):
            self._break(f"{self._place(self._paths[id(module)])} is a {type(module).__name__}, which is not a link of a chain")

    def _leave(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if id(module) not in self._paths:
            return
        inner = self._called.pop()
        self._stack.pop()
        self._opaque -= id(module) in self._known
        if self._called:
            self._called[-1] += 1
        path = self._paths[id(module)]
        if inner == 0:
            self.order.append(path)
        if id(module) in self._known and not self._opaque and not self.outside:
            self._module(path, self._known[id(module)], tensors((args, kwargs)), output)

    def _module(self, path: str, known: "_KnownModule", inputs: list[torch.Tensor], output: Any) -> None:
        if len(inputs) != 1 or inputs[0] is not self._current or not isinstance(output, torch.Tensor):
            self._break(f"{self._place(path)} does not take the previous step's output and nothing else")
        elif known.weight in self._weights_used:
            self._break(f"the weight of {self._place(path)} is used more than once")
        else:
            self._weights_used |= {known.weight} if known.weight else set()
            self._link(replace(known.unit, path=path), inputs[0], output)

    def _link(self, unit: Unit, source: torch.Tensor, result: torch.Tensor) -> None:
        if unit.kind == "flatten" and source.shape[:1] != result.shape[:1]:
            self._break(f"a reshape in {self._place(unit.path)} changes the batch axis")
            return
        self.chain.append(replace(unit, input_shape=tuple(source.shape[1:]), output_shape=tuple(result.shape[1:])))
        self._alive.append(source)
        self._current = result

    @staticmethod
    def _place(path: str) -> str:
        return f"module {path}" if path else "the model"

    def _break(self, fact: str) -> None:
        self.outside = self.outside or fact
