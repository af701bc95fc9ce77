"""Units: one recorded module call as an experiment, alone; with its inner calls, or with stubs in their place."""

import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from gradcheck_suite.probes.directional_derivative.draws import Draws
from gradcheck_suite.probes.directional_derivative.experiment import DATA, INPUT, PARAMETER, STUB, Experiment
from gradcheck_suite.probes.directional_derivative.generators import Generators
from gradcheck_suite.probes.directional_derivative.graph import Survey
from gradcheck_suite.probes.directional_derivative.interception import Proceed, intercepted
from gradcheck_suite.probes.directional_derivative.lifting import widened
from gradcheck_suite.probes.directional_derivative.record import Call
from gradcheck_suite.probes.directional_derivative.resets import Resets
from gradcheck_suite.probes.directional_derivative.stubs import Stub
from gradcheck_suite.probes.directional_derivative.trees import Tree, argument_names, inexact_leaves


@dataclass(slots=True)
class ModuleFacts:
    """What is asked of a module again and again: its trainable parameters, the tables of embeddings in it, whether it is stock."""

    trainable: Sequence[tuple[str, torch.Tensor]]
    embeddings: Sequence[nn.Module]
    stock: bool


@dataclass(slots=True)
class Surroundings:
    """What every replay of a recorded call needs: random draws, the state to return to, the generators that move.

    ``lifted``: the recorded run itself left casts to narrower types out.
    """

    draws: Draws
    resets: Resets
    generators: Generators
    lifted: bool = False
    known: dict[int, ModuleFacts] = field(default_factory=dict)

    def facts(self, module: nn.Module) -> ModuleFacts:
        """The facts of a module, worked out once."""
        found = self.known.get(id(module))
        if found is None:
            trainable = [(name, p) for name, p in module.named_parameters() if p.requires_grad and p.layout == torch.strided]
            inside = module.modules() if module._modules else (module,)
            embeddings = [inner for inner in inside if isinstance(inner, nn.Embedding | nn.EmbeddingBag)]
            found = self.known[id(module)] = ModuleFacts(trainable, embeddings, is_stock(module))
        return found


class ModuleCall(Experiment):
    """A call of a module, isolated: its inputs are leaves, and all its trainable parameters are perturbed with them.

    Without ``data``, inputs that carried no gradient in place are left alone (a target that must be 0 or 1, say).
    """

    def __init__(self, call: Call, around: Surroundings, data: bool = True, lifted: bool = False) -> None:
        super().__init__()
        self.lifted = lifted = lifted or around.lifted
        self.call, self.around = call, around
        self._copies = not around.facts(call.module).stock
        self._moving = [carried or data for carried in call.carried]
        leaves = [widened(leaf) if lifted else leaf for leaf in call.arguments.leaves]
        self.inputs = [leaf.detach().requires_grad_(moves) for leaf, moves in zip(leaves, self._moving, strict=True)]
        self.tensors = [leaf for leaf in self.inputs if leaf.requires_grad]
        self.roles = [INPUT if carried else DATA for carried, moves in zip(call.carried, self._moving, strict=True) if moves]
        self._parameters = self._trainable()
        self.tensors += [parameter for _, parameter in self._parameters]
        self.roles += [PARAMETER] * len(self._parameters)
        self._spare_padding()

    def names(self) -> list[str]:
        """Argument names of the forward method, then parameter names within the module."""
        args, kwargs = self.call.invocation(list(range(len(self.inputs))))  # type: ignore[arg-type]
        named = self.call.arguments.paths(argument_names(self.call.module, args, kwargs))
        inputs = [name for name, moves in zip(named, self._moving, strict=True) if moves]
        return [*inputs, *(name for name, _ in self._parameters)]

    def run(self) -> list[torch.Tensor]:
        """The outputs of the call at the current values."""
        try:
            return inexact_leaves(self._once())
        except RuntimeError as error:
            if self._copies or "leaf" not in str(error):
                raise
            self._copies = True  # it writes into its input: from now on, into a copy
            self.reset()
            return inexact_leaves(self._once())

    def reset(self) -> None:
        """Put back buffers, counters and caches inside the module."""
        self.around.resets.restore(self.call.module)

    def _once(self) -> Any:
        leaves = [leaf.clone() for leaf in self.inputs] if self._copies else self.inputs
        self.handed = list(leaves)
        args, kwargs = self.call.invocation(leaves)
        if self.call.state is not None:
            self.around.generators.write(self.call.state)
        return self.call.module(*args, **kwargs)

    def _trainable(self) -> list[tuple[str, torch.Tensor]]:
        return list(self.around.facts(self.call.module).trainable)

    def _spare_padding(self) -> None:
        """PyTorch gives the padding row of an embedding no gradient, on purpose."""
        for module in self.around.facts(self.call.module).embeddings:
            spare_padding(module, self.tensors, self.untouched)


class GlueCall(ModuleCall):
    """A call of a container with its inner calls replaced by stubs: its own code, and the parameters it uses itself."""

    def __init__(self, call: Call, around: Surroundings, data: bool = True, lifted: bool = False) -> None:
        super().__init__(call, around, data, lifted)
        self._copies = True
        self._stubs: dict[int, list[Stub]] = {}
        self._turns: dict[int, int] = {}
        for inner in call.inner:
            if inner.output is not None:
                stub = Stub(inner, inner.output, around.draws, self.lifted)
                self._stubs.setdefault(id(inner.module), []).append(stub)
                if stub.free is not None:
                    self.tensors.append(stub.free)
                    self.roles.append(STUB)
                    self._parameters.append((f"output of {inner.path or type(inner.module).__name__}", stub.free))
        self._open = ExitStack()
        modules = {id(inner.module): inner.module for inner in call.inner if id(inner.module) in self._stubs}
        self._open.enter_context(intercepted(modules.values(), self._answer))

    def run(self) -> list[torch.Tensor]:
        """The outputs of the call with stubs inside; they stay in place for a backward pass that calls them again."""
        self._turns.clear()
        return super().run()

    def discover(self, found: Survey) -> None:
        """Add the parameters of inner modules that the container's own code uses (tied weights)."""
        known = {id(tensor) for tensor in self.tensors}
        used = {id(leaf) for leaf in found.leaves} - known
        if used:
            extra = [(name, p) for name, p in self.call.module.named_parameters() if id(p) in used]
            self._parameters += extra
            self.tensors += [parameter for _, parameter in extra]
            self.roles += [PARAMETER] * len(extra)
            self._spare_padding()

    def displace(self, draws: Draws, size: float, zeros: float = 1.0, signed: bool = True) -> None:
        """Move the tensors and the stubs' outputs."""
        super().displace(draws, size, zeros, signed)
        for stub in self._all_stubs():
            stub.displace(size)

    def replace(self) -> None:
        """Put tensors and stubs back."""
        super().replace()
        for stub in self._all_stubs():
            stub.replace()

    def close(self) -> None:
        """Take the stubs away."""
        super().close()
        self._open.close()

    def _answer(self, proceed: Proceed, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        stubs = self._stubs[id(module)]
        turn = self._turns.get(id(module), 0)
        self._turns[id(module)] = turn + 1
        given = Tree((*args, *kwargs.values()))
        stub = stubs[turn] if turn < len(stubs) else min(stubs, key=lambda stub: stub.distance(given))  # a checkpoint calls again
        output = stub(given)
        self.handed += inexact_leaves(output)
        return output

    def _all_stubs(self) -> Iterable[Stub]:
        return (stub for stubs in self._stubs.values() for stub in stubs)

    def _trainable(self) -> list[tuple[str, torch.Tensor]]:
        inside = {id(p) for inner in self.call.inner for _, p in self.around.facts(inner.module).trainable}
        return [(name, p) for name, p in super()._trainable() if id(p) not in inside]


def spare_padding(module: nn.Module, tensors: list[torch.Tensor], untouched: dict[int, torch.Tensor]) -> None:
    """Mark the entries of an embedding's table whose gradient PyTorch defines away."""
    if not isinstance(module, nn.Embedding | nn.EmbeddingBag):
        return
    position = next((index for index, tensor in enumerate(tensors) if tensor is module.weight), None)
    if position is None or (module.padding_idx is None and module.max_norm is None and not module.scale_grad_by_freq):
        return
    mask = torch.zeros_like(module.weight, dtype=torch.bool)
    if module.max_norm is not None or module.scale_grad_by_freq:
        mask[:] = True
    elif module.padding_idx is not None:
        mask[module.padding_idx] = True
    untouched[position] = mask


def is_stock(module: nn.Module) -> bool:
    """Whether a module is one of PyTorch's own classes, run as it is: no subclass, no replaced forward, no hooks."""
    kind = type(module)
    if not kind.__module__.startswith("torch.nn.") or "forward" in vars(module):
        return False
    home = sys.modules.get(kind.__module__)
    return getattr(home, kind.__name__, None) is kind and not hooked(module)


def hooked(module: nn.Module) -> bool:
    """Whether the module has hooks that take part in a call."""
    tables = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(tables)
