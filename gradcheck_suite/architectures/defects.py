"""Planted defects by name: what each does, where it fits, and the strengths worth drawing.

A defect is planted in one module of the built model, after initialisation, rounding and the choice of mode.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from torch import nn

from gradcheck_suite.architectures import attention_faults, faults, parameter_faults
from gradcheck_suite.architectures.grammar import Place, places
from gradcheck_suite.architectures.kinds import KINDS
from gradcheck_suite.architectures.losses import LOSSES, class_targets
from gradcheck_suite.architectures.mistakes import MISTAKES
from gradcheck_suite.core.architecture import Architecture, Defect, Layer
from gradcheck_suite.core.errors import UsageError, did_you_mean

Need = Literal["output", "parameter", "weight", "bias", "buffer", "attention", "time", "numbers", "tokens"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of defect.

    Attributes:
        plant: ``(module, strength)``; its docstring says what the strength is.
        family: ``gradient`` (the backward pass is not the derivative), ``forward``, or ``initialization``.
        needs: what the module must have: an output, parameters, weights, biases, running statistics, attention heads, an output with a time
            axis, an input of numbers (not tokens), or one of tokens.
        strengths: worth drawing, the plainest first.
        cuts: whether trainable layers must follow for a gradient to be left at all.
        samples: least number of samples for it to do anything.
    """

    plant: Callable[[nn.Module, float], None]
    family: Literal["gradient", "forward", "initialization"]
    needs: Need = "output"
    strengths: tuple[float, ...] = (1.0,)
    cuts: bool = False
    samples: int = 1

    @property
    def about(self) -> str:
        """What it does, in a sentence."""
        return (self.plant.__doc__ or "").partition("\n")[0]


FACTORS = (2.0, 0.5, 0.0, 1.1, 0.99, 1.01)

DEFECTS = MappingProxyType({
    "scaled-backward": Fault(faults.scaled_backward, "gradient", strengths=FACTORS),
    "sign-flip": Fault(faults.sign_flip, "gradient"),
    "scaled-row": Fault(faults.scaled_row, "gradient", strengths=FACTORS),
    "scaled-input-row": Fault(faults.scaled_input_row, "gradient", "numbers", FACTORS),
    "swapped-samples": Fault(faults.swapped_samples, "gradient", samples=2),
    "ignored-upstream": Fault(faults.ignored_upstream, "gradient"),
    "detached-backward": Fault(faults.detached_backward, "gradient"),
    "scaled-single-sample": Fault(faults.scaled_single_sample, "gradient", strengths=FACTORS),
    "spoiled-upstream": Fault(faults.spoiled_upstream, "gradient", strengths=(2.0, 0.5, 1.1)),
    "narrow-gradient": Fault(faults.narrow_gradient, "gradient", strengths=(1.0, 1e-6)),
    "nan-gradient": Fault(faults.nan_gradient, "gradient"),
    "nondeterministic": Fault(faults.nondeterministic, "gradient", strengths=(0.1,)),
    "parameter-hook": Fault(parameter_faults.parameter_hook, "gradient", "parameter", FACTORS),
    "shifted-gradient": Fault(parameter_faults.shifted_gradient, "gradient", "parameter", (1.0, 0.01)),
    "scaled-entry": Fault(parameter_faults.scaled_entry, "gradient", "parameter", FACTORS),
    "overwritten-gradient": Fault(parameter_faults.overwritten_gradient, "gradient", "parameter"),
    "forgetful-softmax": Fault(attention_faults.forgetful_softmax, "gradient", "attention", (1.0, 0.01)),
    "detached": Fault(faults.detached, "gradient", cuts=True),
    "frozen": Fault(parameter_faults.frozen, "gradient", "parameter", cuts=True),
    "unregistered": Fault(parameter_faults.unregistered, "gradient", "parameter"),
    "half-island": Fault(faults.half_island, "forward"),
    "nan-forward": Fault(faults.nan_forward, "forward"),
    "hidden-offset": Fault(faults.hidden_offset, "forward", strengths=(1e-3, 1.0)),
    "wrong-axis": Fault(faults.wrong_axis, "forward", samples=2),
    "future-leak": Fault(faults.future_leak, "forward", "time"),
    "ignored-padding": Fault(faults.ignored_padding, "forward", "tokens"),
    "input-mutation": Fault(faults.input_mutation, "forward", "numbers", (1.0, 1e-3)),
    "drifting": Fault(parameter_faults.drifting, "forward", "parameter", (1.0, 1e-3)),
    "drifting-buffers": Fault(faults.drifting_buffers, "forward", "buffer", (1.0, 1e-3)),
    "reseeding": Fault(faults.reseeding, "forward"),
    "leaked-dtype": Fault(faults.leaked_dtype, "forward"),
    "growing-hooks": Fault(faults.growing_hooks, "forward"),
    "stateful": Fault(faults.stateful, "forward", strengths=(1.0, 0.01)),
    "float32-mask": Fault(attention_faults.float32_mask, "forward", "attention"),
    "missing-scale": Fault(attention_faults.missing_scale, "initialization", "attention"),
    "gain": Fault(faults.gain, "initialization", "weight", (2.0, 30.0, 0.01, 0.5)),
    "constant-weights": Fault(faults.constant_weights, "initialization", "weight"),
    "zero-init": Fault(faults.zero_init, "initialization", "parameter"),
    "saturated": Fault(faults.saturated, "initialization", "bias"),
})  # fmt: skip


def fault(kind: str) -> Fault:
    """The defect of that name.

    Raises:
        UsageError: there is none.
    """
    if kind not in DEFECTS:
        raise UsageError(f"unknown defect {kind!r}", allowed=", ".join(DEFECTS), instead=did_you_mean(kind, DEFECTS))
    return DEFECTS[kind]


def hosts(kind: str, place: Place) -> bool:
    """Whether the layer at a place has what the defect needs."""
    needs = fault(kind).needs
    if needs == "time":
        return len(place.output_shape) == 2
    if needs in ("numbers", "tokens"):
        return (place.layer.kind == "embedding") == (needs == "tokens")
    if needs == "attention":
        return place.layer.kind in ("attention", "encoder")
    return needs == "output" or _has(place.layer, needs)


@functools.lru_cache(maxsize=4096)
def _has(layer: Layer, needs: Need) -> bool:
    inner = [found for _, found in layer.walk()]
    if needs == "parameter":
        return any(KINDS[one.kind].parameters for one in inner)
    if needs == "buffer":
        return any(one.kind == "batch_norm" for one in inner)
    weighted = [one for one in inner if KINDS[one.kind].family == "weighted"]
    if needs == "weight":
        return bool(weighted)
    return any(one.kind != "embedding" and one.option("bias", True) for one in weighted)


def check(defect: Defect, architecture: Architecture) -> None:
    """Whether a defect, or a mistake in the set-up, can be planted where it says.

    Raises:
        UsageError: there is none of that kind, it names no layer, or one that lacks what the defect needs.
    """
    kind, module, everywhere = defect.kind, defect.module, places(architecture)
    if not math.isfinite(defect.strength):
        raise UsageError(f"defect {kind!r} of strength {defect.strength}", allowed="a finite number")
    if kind in MISTAKES:
        _check_mistake(kind, architecture)
        if module and module not in everywhere:
            raise UsageError(f"mistake {kind!r} in module {module!r}", allowed=", ".join(map(repr, ("", *everywhere))))
        return
    if kind not in DEFECTS:
        known = (*DEFECTS, *MISTAKES)
        raise UsageError(f"unknown defect {kind!r}", allowed=", ".join(known), instead=did_you_mean(kind, known))
    if module not in everywhere:
        raise UsageError(f"defect {kind!r} in module {module!r}", allowed=", ".join(map(repr, everywhere)))
    if not hosts(kind, everywhere[module]):
        fitting = [path for path, place in everywhere.items() if hosts(kind, place)]
        raise UsageError(
            f"defect {kind!r} in module {module!r}, {everywhere[module].layer.kind}, which has no {DEFECTS[kind].needs}",
            allowed=", ".join(map(repr, fitting)) or "nowhere in this architecture",
        )


def _check_mistake(kind: str, architecture: Architecture) -> None:
    loss = architecture.loss
    if not loss and (MISTAKES[kind].stage == "loss" or "targets" in kind):
        raise UsageError(f"mistake {kind!r} without a loss", allowed=", ".join(repr(name) for name in LOSSES if name))
    if kind == "scaled-targets" and LOSSES[loss].targets is class_targets:
        raise UsageError(f"mistake {kind!r} with loss {loss!r}, whose targets are classes")
    if kind == "scaled-inputs" and architecture.vocabulary:
        raise UsageError(f"mistake {kind!r} on tokens", allowed="an input of numbers")
