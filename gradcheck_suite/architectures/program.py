"""The Python source of an architecture: what ``build`` runs and ``to_python`` prints, written once."""

import ast
import functools
import inspect
import math
import re
from collections.abc import Callable
from types import CodeType, MappingProxyType, ModuleType
from typing import Any

import torch

from gradcheck_suite.architectures import (
    attention_faults,
    comparison,
    defects,
    faults,
    initializations,
    losses,
    mistakes,
    modules,
    parameter_faults,
    values,
)
from gradcheck_suite.architectures.grammar import inside, output_shape
from gradcheck_suite.architectures.initializations import INITIALIZATIONS
from gradcheck_suite.architectures.losses import LOSSES
from gradcheck_suite.architectures.mistakes import MISTAKES
from gradcheck_suite.architectures.optimizers import OPTIMIZERS
from gradcheck_suite.architectures.shapes import Shape
from gradcheck_suite.architectures.values import TOKENS, VALUES
from gradcheck_suite.core.architecture import Architecture, Defect
from gradcheck_suite.core.errors import UsageError, did_you_mean

_SOURCES: tuple[ModuleType, ...] = (
    modules, initializations, values, losses, faults, attention_faults, parameter_faults, mistakes, comparison,
)  # fmt: skip


def _parts() -> dict[str, Any]:
    """The functions and classes that the programs may name, in the order of their definition."""
    found: dict[str, Any] = {}
    for module in _SOURCES:
        own = {name: value for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__}
        found |= {name: value for name, value in own.items() if inspect.isfunction(value) or inspect.isclass(value)}
    return found


PARTS = MappingProxyType(_parts())
_NAMESPACE = MappingProxyType({
    **PARTS, "torch": torch, "nn": torch.nn, "functional": torch.nn.functional, "math": math, "Tensor": torch.Tensor,
})  # fmt: skip


@functools.lru_cache(maxsize=4096)
def shapes(architecture: Architecture) -> tuple[Shape, ...]:
    """The shape of one sample before the first layer and after every layer at the top level.

    Raises:
        UsageError: the architecture cannot be built; the layer or field is named.
    """
    _check_fields(architecture)
    result = [architecture.input_shape]
    for index, layer in enumerate(architecture.layers):
        try:
            if (layer.kind == "embedding") != (index == 0 and architecture.vocabulary > 0):
                raise UsageError("an embedding is the first layer of an architecture with a vocabulary, and only that")
            result.append(output_shape(layer, result[-1]))
            padding = layer.option("padding")
            if layer.kind == "embedding" and isinstance(padding, int) and padding >= architecture.vocabulary:
                raise UsageError(f"embedding: padding={padding}", allowed=f"0 to {architecture.vocabulary - 1}")
        except UsageError as error:
            raise UsageError(f"layer {index}: {error.got}", allowed=error.allowed, instead=error.instead) from None
    for defect in architecture.defects:
        defects.check(defect, architecture)
    if LOSSES[architecture.loss].classes and losses.classes(result[-1]) < 2:
        raise UsageError(f"loss {architecture.loss!r} on an output of shape {result[-1]}", allowed="at least 2 classes")
    return tuple(result)


def _check_fields(architecture: Architecture) -> None:
    names = {
        "initialization": INITIALIZATIONS, "loss": LOSSES, "optimizer": OPTIMIZERS, "values": VALUES, "dtype": ("float64", "float32"),
    }  # fmt: skip
    for field, table in names.items():
        name = getattr(architecture, field)
        if name not in table:
            allowed = ", ".join(map(repr, table))
            raise UsageError(f"unknown {field} {name!r}", allowed=allowed, instead=did_you_mean(str(name), table))
    sizes = (*architecture.input_shape, architecture.batch)
    if not architecture.input_shape or any(isinstance(size, bool) or not isinstance(size, int) or size < 1 for size in sizes):
        raise UsageError(f"input_shape={architecture.input_shape!r}, batch={architecture.batch!r}", allowed="integers of at least 1")
    if not architecture.layers:
        raise UsageError("an architecture without layers", instead='Write layers=(layer("dense", units=8),).')
    rate = architecture.learning_rate
    if not math.isfinite(rate) or rate < 0:
        raise UsageError(f"learning_rate={rate!r}", allowed="a finite number of at least 0")


def model_source(architecture: Architecture) -> str:
    """The source of ``make_model(seed) -> nn.Sequential``."""
    shapes(architecture)
    layers = inside(architecture.layers, architecture.input_shape, architecture.vocabulary, "    ")
    lines = ["torch.manual_seed(seed)", f"model = nn.Sequential({layers})"]
    draw = INITIALIZATIONS[architecture.initialization]
    if draw is not None:
        lines.append(f"initialize(model, {draw.__name__})")
    if architecture.dtype == "float32":
        lines.append("model.float()")
    if not architecture.training:
        lines.append("model.eval()")
    for defect in architecture.defects:
        if defect.kind not in MISTAKES:
            lines.append(f"{defects.fault(defect.kind).plant.__name__}({_module(defect)}, {float(defect.strength)!r})")
    return _function("make_model(seed: int) -> nn.Sequential", [*lines, "return model"])


def batch_source(architecture: Architecture) -> str:
    """The source of ``make_batch(seed) -> (inputs, targets)``."""
    *_, output = shapes(architecture)
    shape = (architecture.batch, *architecture.input_shape)
    if architecture.vocabulary:
        inputs = f"{TOKENS[architecture.values].__name__}({shape}, {architecture.vocabulary}, generator)"
    else:
        inputs = f"{VALUES[architecture.values].__name__}({shape}, generator)"
    targets = f"{LOSSES[architecture.loss].targets.__name__}({(architecture.batch, *output)}, generator)"
    lines = ["generator = torch.Generator().manual_seed(seed)", f"inputs = {inputs}", f"targets = {targets}"]
    if architecture.dtype == "float32":
        lines += ["inputs = inputs.float()"] if not architecture.vocabulary else []
        lines += ["targets = targets.float()"] if "class_targets" not in targets else []
    for mistake in made(architecture, "batch"):
        lines.append(f"inputs, targets = {MISTAKES[mistake.kind].make.__name__}(inputs, targets, {float(mistake.strength)!r})")
    return _function("make_batch(seed: int) -> tuple[Tensor, Tensor]", [*lines, "return inputs, targets"])


def optimizer_source(architecture: Architecture) -> str:
    """The source of ``make_optimizer(parameters, model) -> torch.optim.Optimizer``."""
    shapes(architecture)
    rate = repr(float(architecture.learning_rate))
    lines = [f"optimizer = {OPTIMIZERS[architecture.optimizer].format(rate=rate)}"]
    for mistake in made(architecture, "optimizer"):
        lines.append(f"{MISTAKES[mistake.kind].make.__name__}(optimizer, {_module(mistake)}, {float(mistake.strength)!r})")
    signature = "make_optimizer(parameters: list[nn.Parameter], model: nn.Module) -> torch.optim.Optimizer"
    return _function(signature, [*lines, "return optimizer"])


def loss_source(architecture: Architecture) -> str:
    """The source of ``loss_function(output, targets, model) -> scalar``."""
    shapes(architecture)
    lines = [f"loss = {LOSSES[architecture.loss].function.__name__}(output, targets)"]
    for mistake in made(architecture, "loss"):
        make = MISTAKES[mistake.kind].make.__name__
        lines.append(f"loss = {make}(loss, output, {_module(mistake)}, {float(mistake.strength)!r})")
    return _function("loss_function(output: Tensor, targets: Tensor, model: nn.Module) -> Tensor", [*lines, "return loss"])


def made(architecture: Architecture, stage: str) -> tuple[Defect, ...]:
    """The mistakes of a stage among the architecture's defects."""
    return tuple(one for one in architecture.defects if one.kind in MISTAKES and MISTAKES[one.kind].stage == stage)


def _module(defect: Defect) -> str:
    return f"model.get_submodule({defect.module!r})" if defect.module else "model"


def _function(signature: str, lines: list[str]) -> str:
    return f"def {signature}:\n" + "".join(f"    {line}\n" for line in lines)


def run(source: str) -> Callable[..., Any]:
    """The function that one of the sources defines."""
    namespace = dict(_NAMESPACE)
    exec(_compiled(source), namespace)
    made: Callable[..., Any] = namespace[source[len("def ") : source.index("(")]]
    return made


@functools.lru_cache(maxsize=4096)
def _compiled(source: str) -> CodeType:
    return compile(source, "<architecture>", "exec")


def needed(*sources: str) -> list[str]:
    """The source of every part that the sources name, and of those they name in turn, in the order of their definition."""
    wanted: set[str] = set()
    queue = list(sources)
    while queue:
        fresh = (names(queue.pop()) & PARTS.keys()) - wanted
        wanted |= fresh
        queue += [inspect.getsource(PARTS[name]) for name in fresh]
    return [re.sub(r"  # type: ignore.*", "", inspect.getsource(part)) for name, part in PARTS.items() if name in wanted]


def names(source: str) -> set[str]:
    """The names that a source reads or sets, annotations included, attributes left out."""
    return {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
