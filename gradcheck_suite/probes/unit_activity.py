"""Unit activity: which units respond to a batch, at initialisation and after three steps."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import zip_longest
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from gradcheck_suite.captures.unit_activity import LayerActivity, UnitActivity
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import SubjectError
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.probes.activations import ATTENTION, CONVOLUTIONS, PRODUCTS, SLOPES, SOFTMAX, packet
from gradcheck_suite.probes.execution import Running, realise, tensors
from gradcheck_suite.probes.experiment import Experiment, is_finite, samples_in
from gradcheck_suite.probes.first_steps import STEPS
from gradcheck_suite.probes.standardised import standardised_inputs
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.subject import Subject

_ROWS = 4096
_REDRAWN = 16
_FEWEST = 2
_SHARE = 1.0 / 3.0  # of the time that the probe has
_UNDERFLOW = 87.0  # exp(-87) is the least normal number of float32
_MASKED = -5e3  # masks add -10 000, -1e9 or the least number of a dtype where they do not write minus infinity
_CARRIERS = {"native_dropout", "mul", "div", "clone", "_to_copy", "masked_fill", "where", "expand", "contiguous"}


def unit_activity(subject: Subject, budget: Budget, seed: int) -> UnitActivity:
    """How the units respond (see ``captures.unit_activity``), in the mode under test.

    Raises:
        SubjectError: the subject failed.
    """
    setup = realise(subject, seed)
    with preserved(setup.model), torch.enable_grad():
        run = Experiment(setup, seed)
        layers, output = watched(setup.model, run.output)
        if subject.fresh and any(layer.inner and layer.freezing > 1 for layer in layers):
            layers = _redrawn(subject, layers, seed, setup.model, time.monotonic() + _SHARE * budget.seconds)
        standardised = _standardised(run)
        later: tuple[LayerActivity, ...] = ()
        for _ in range(STEPS if run.optimizer is not None and setup.loss is not None else 0):
            if not is_finite(run.gradients(), *(p.grad for p in setup.model.parameters())):
                break
            run.step()
        if run.optimizer is not None and is_finite(*(p.detach() for p in setup.model.parameters())):
            later, _ = watched(setup.model, run.output)
    return UnitActivity(layers=layers, later=later, standardised=standardised, samples=samples_in(output, setup.batch))


def _redrawn(subject: Subject, layers: tuple[LayerActivity, ...], seed: int, first: nn.Module, end: float) -> tuple[LayerActivity, ...]:
    """The layers with the spread of frozen attention in further initialisations: one of a few small heads may be large by chance.

    They end with the first that has the weights of ``first``, bit for bit (trained weights that a factory loads): nothing is drawn
    then, and there are no spreads. After two, the least from which a deviation can be told, they end where another would not be
    done by the time ``end``: fewer draws make a wider interval.
    """
    seen: dict[tuple[str, str, str, int], list[float]] = {}
    began = time.monotonic()
    for draw in range(_REDRAWN):
        now = time.monotonic()
        if draw >= _FEWEST and now + (now - began) / draw > end:
            break
        setup = realise(subject, derive(seed, "unit_activity", draw))
        with preserved(setup.model):
            for layer in watched(setup.model, Experiment(setup, seed).output)[0]:
                seen.setdefault(_key(layer), []).append(layer.spread)
        if _same_weights(first, setup.model):
            return layers
    return tuple(replace(layer, spreads=tuple(seen.get(_key(layer), ()))) if layer.inner and layer.freezing > 1 else layer
                 for layer in layers)


def _same_weights(one: nn.Module, other: nn.Module) -> bool:
    """Whether two models have the same parameters, bit for bit."""
    pairs = zip_longest(one.parameters(), other.parameters())
    return all(a is not None and b is not None and a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b) for a, b in pairs)


def _key(layer: LayerActivity) -> tuple[str, str, str, int]:
    return layer.module, layer.function, layer.after, layer.choices


def _standardised(run: Experiment) -> tuple[LayerActivity, ...]:
    changed = standardised_inputs(run.setup)
    if changed is None:
        return ()
    try:
        return watched(run.model, lambda: run.output(changed.batch))[0]
    except SubjectError:
        return ()


def watched(model: nn.Module, call: Callable[[], Any]) -> tuple[tuple[LayerActivity, ...], Any]:
    """Run the call and see every activation function in it; the result of the call comes with it."""
    leaves = _Leaves(model)
    with leaves, torch.no_grad(), _Watch(leaves) as watch:
        output = call()
        watch.finish(output)
    return tuple(layer.seen() for layer in watch.layers.values()), output


class _Leaves(Running):
    """The running modules, and the module without children that ended last."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.last = ""
        self._bare = {id(module) for module in model.modules() if not list(module.children())}

    def _leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        super()._leave(module, inputs, output)
        if id(module) in self._bare:
            self.last = self.paths[id(module)]


class _Layer:
    """Running sums over the calls of one activation function at one place."""

    def __init__(self, module: str, function: str, after: str) -> None:
        self.names = (module, function, after)
        self.alive: torch.Tensor | None = None
        self.observations, self.entries, self.slopes = 0, 0, 0.0
        self.rows, self.spread, self.concentration, self.choices, self.inner, self.final = 0, 0.0, 0.0, 0, False, False

    def add_slopes(self, slopes: torch.Tensor, axis: int, given: torch.Tensor) -> None:
        """The slopes of one call at what it was given, units along ``axis``; an input of exactly zero is a kink and no flat end."""
        flat = slopes.movedim(axis, 0).flatten(1)
        alive = ((flat != 0) | (given.movedim(axis, 0).flatten(1) == 0)).any(1)
        self.alive = alive if self.alive is None else self.alive | alive
        self.observations += flat.shape[1]
        self.entries += flat.numel()
        self.slopes += float(flat.double().sum())

    def add_rows(self, logits: torch.Tensor) -> None:
        """The logits of one call, one row per softmax; masked entries are minus infinity, or as good as that: their weight is zero."""
        finite = torch.isfinite(logits) & (logits > _MASKED)
        chosen = finite & (logits > logits.masked_fill(~finite, -math.inf).amax(1, keepdim=True) - _UNDERFLOW)
        chosen = chosen if bool((chosen.sum(1) > 1).any()) else finite
        count = chosen.sum(1)
        rows, chosen = logits[count > 1].double(), chosen[count > 1]
        if not len(rows):
            return
        count = count[count > 1]
        values = rows.masked_fill(~chosen, 0.0)
        mean = values.sum(1, keepdim=True) / count[:, None]
        deviation = ((values - mean).square() * chosen).sum(1) / count
        self.rows += len(rows)
        self.spread += float(deviation.sqrt().sum())
        self.concentration += float(torch.softmax(rows, 1).square().sum())
        self.choices = max(self.choices, int(count.max()))

    def seen(self) -> LayerActivity:
        """The sums as a fact."""
        module, function, after = self.names
        rows, entries = self.rows, self.entries
        nothing = float("nan")
        return LayerActivity(
            module=module, function=function, after=after, observations=self.observations,
            units=0 if self.alive is None else self.alive.numel(), dead=0 if self.alive is None else int((~self.alive).sum()),
            slope=self.slopes / entries if entries else nothing, spread=self.spread / rows if rows else nothing, choices=self.choices,
            concentration=self.concentration / rows if rows else nothing, inner=self.inner, final=self.final,
        )


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees the operations; module paths come from ``leaves``."""

    def __init__(self, leaves: _Leaves) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.leaves = leaves
        self.layers: dict[tuple[Any, ...], _Layer] = {}
        self._channels_first: set[tuple[int, ...]] = set()
        self._softmaxes: dict[int, _Layer] = {}
        self._results: dict[int, _Layer] = {}
        self._alive: list[torch.Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        operation, layer = packet(func), None
        if operation in SLOPES and args and isinstance(args[0], torch.Tensor) and args[0].dim() > 1:
            name, slope = SLOPES[operation]
            layer = self._layer(name, args[0].shape[self._axis(args[0])])
            layer.add_slopes(slope(args[0].detach(), tuple(args[1:])), self._axis(args[0]), args[0].detach())
        elif operation in ATTENTION:
            self._attention(args, kwargs or {})
        result = func(*args, **(kwargs or {}))
        if layer is not None and isinstance(result, torch.Tensor):
            self._alive.append(result)
            self._results[_storage(result)] = layer
        if operation in CONVOLUTIONS:
            self._channels_first.add(tuple(result.shape))
        elif operation in SOFTMAX:
            self._softmax(args[0], int(args[1]), result)
        elif self._softmaxes:
            self._follow(operation, args, result)
        return result

    def finish(self, output: Any) -> None:
        """Mark the activation functions whose result is the model's output, or a view of it."""
        for tensor in tensors(output):
            made = self._results.get(_storage(tensor)) if tensor.layout == torch.strided else None
            if made is not None:
                made.final = True

    def _layer(self, function: str, units: int) -> _Layer:
        module, after = self.leaves.innermost or "", self.leaves.last
        return self.layers.setdefault((module, function, after, units), _Layer(module, function, after))

    def _axis(self, tensor: torch.Tensor) -> int:
        if tensor.dim() >= 4 or (tensor.dim() == 3 and tuple(tensor.shape) in self._channels_first):
            return 1
        return tensor.dim() - 1

    def _softmax(self, logits: torch.Tensor, dim: int, result: torch.Tensor) -> None:
        if logits.dim() == 0 or logits.shape[dim] < 2:
            return
        layer = self._layer("softmax", logits.shape[dim])
        layer.add_rows(logits.detach().movedim(dim, -1).flatten(0, -2)[:_ROWS] if logits.dim() > 1 else logits.detach()[None])
        self._alive.append(result)
        self._softmaxes[result.untyped_storage().data_ptr()] = layer

    def _attention(self, args: Any, kwargs: dict[str, Any]) -> None:
        query, key = args[0].detach()[:2], args[1].detach()[:2]
        scale = kwargs.get("scale") or query.shape[-1] ** -0.5
        if query.shape[:-2] != key.shape[:-2] or key.shape[-2] < 2:
            return
        logits = (query @ key.transpose(-2, -1) * scale).flatten(0, -2)
        layer = self._layer("softmax", key.shape[-2])
        layer.add_rows(logits[:_ROWS])
        layer.inner = True

    def _follow(self, operation: Any, args: Any, result: Any) -> None:
        found = [self._softmaxes.get(_storage(tensor)) for tensor in tensors(list(args)) if tensor.layout == torch.strided]
        layers = [layer for layer in found if layer is not None]
        if layers and operation in PRODUCTS:
            layers[0].inner = True
        elif layers and str(operation).rpartition(".")[2] in _CARRIERS:
            for tensor in tensors(result):
                self._alive.append(tensor)
                self._softmaxes[_storage(tensor)] = layers[0]


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
