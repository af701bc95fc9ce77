"""What a factory returned, checked: a module, a tuple, a mapping, or a ``Subject``; and the settings that win over it."""

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, Final

import torch
from torch import nn

from gradcheck_suite.core.errors import TargetError, UsageError
from gradcheck_suite.core.failures import kind_of, shown
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.subject import Batch, Setup, Subject
from gradcheck_suite.targets.grammar import Settings
from gradcheck_suite.targets.inputs import as_arguments, called_with_seed
from gradcheck_suite.targets.loading import told

KEYS: Final = ("model", "inputs", "kwargs", "targets", "loss", "optimizer", "steps", "batch", "intended")
ALLOWED: Final = "a torch.nn.Module; (model, args); (model, args, kwargs); a mapping with the keys " + ", ".join(KEYS) + "; a Subject"
NO_BATCH: Final = Batch()


def generator_of(seed: int, *parts: str) -> torch.Generator:
    """A generator of its own for the data that we draw, so that a factory's draws do not depend on it."""
    return torch.Generator().manual_seed(derive(seed, *parts))


def setup_of(value: Any, seed: int, label: str) -> Setup:
    """A factory's value as a ``Setup``; ``batch`` is ``NO_BATCH`` where it did not say what to run on.

    Raises:
        TargetError: the value is nothing that a factory may return.
    """
    if isinstance(value, Subject):
        return value.setup(seed)
    if isinstance(value, nn.Module):
        return Setup(value, NO_BATCH)
    if isinstance(value, tuple) and 2 <= len(value) <= 3 and isinstance(value[0], nn.Module):
        value = dict(zip(("model", "inputs", "kwargs"), value, strict=False))
    if not isinstance(value, Mapping):
        raise TargetError(f"{label} returned {_described(value)}, not a model", allowed=ALLOWED, instead=_hint(value))
    return _of_mapping(value, seed, label)


def adjusted(setup: Setup, settings: Settings, seed: int) -> Setup:
    """The same with the settings' answers in place of the factory's, and the mode under test set."""
    batch = setup.batch
    if settings.inputs is not None or settings.kwargs is not None or settings.targets is not None:
        batch = _batch(settings.inputs, settings.kwargs, settings.targets, seed, batch)
    if settings.mode:
        setup.model.train(settings.mode == "train")
    return replace(setup, batch=batch, loss=settings.loss or setup.loss, optimizer=settings.optimizer or setup.optimizer)


def _of_mapping(value: Mapping[Any, Any], seed: int, label: str) -> Setup:
    for key in value:
        if key not in KEYS:
            close = get_close_matches(shown(key, 100), KEYS, n=1)
            raise TargetError(f"{label} returned a mapping with the unknown key {shown(key, 100)!r}", allowed=", ".join(KEYS),
                              instead=f"Did you mean {close[0]!r}?" if close else "Leave it out.")
    if not isinstance(value.get("model"), nn.Module):
        raise TargetError(f"{label} returned a mapping whose 'model' is {_described(value.get('model'))}", allowed=ALLOWED)
    for key in ("loss", "optimizer", "batch"):
        if value.get(key) is not None and not callable(value[key]):
            raise TargetError(f"{label} returned {_described(value[key])} as {key!r}, which is not callable", instead=_CALLS[key])
    if value.get("batch") is not None and any(value.get(key) is not None for key in ("inputs", "targets", "kwargs")):
        raise TargetError(f"{label} returned 'batch' beside 'inputs', 'kwargs' or 'targets'", instead="Give one or the other.")
    if value.get("batch") is not None:
        with told(f"the batch of {label} could not be made"):
            drawn = value["batch"](seed)
        inputs, targets = drawn if type(drawn) is tuple and len(drawn) == 2 else (drawn, None)
    else:
        inputs, targets = value.get("inputs"), value.get("targets")
    given = inputs is not None or value.get("kwargs") is not None
    batch = _batch(inputs, value.get("kwargs"), targets, seed, NO_BATCH) if given or targets is not None else NO_BATCH
    return Setup(value["model"], batch, loss=value.get("loss"), optimizer=value.get("optimizer"), steps=_steps(value.get("steps"), label),
                 intended=_intended(value.get("intended"), label))


_CALLS: Final = {
    "loss": "It is called as loss(output, targets).",
    "optimizer": "It is called as optimizer(parameters), such as lambda parameters: torch.optim.SGD(parameters, lr=0.1).",
    "batch": "It is called as batch(seed) and returns (inputs, targets).",
}


def _batch(inputs: Any, kwargs: Any, targets: Any, seed: int, before: Batch) -> Batch:
    """``before`` with what is not ``None`` replaced."""
    if callable(inputs) and not isinstance(inputs, torch.Tensor | Mapping):
        with told("the inputs could not be made"):
            inputs = called_with_seed(inputs, seed)
    if isinstance(inputs, Batch):
        return replace(inputs, targets=before.targets if targets is None else _targets(targets, seed))
    args, keywords = (before.args, dict(before.kwargs)) if inputs is None else as_arguments(inputs, generator_of(seed, "inputs"))
    if kwargs is not None and not isinstance(kwargs, Mapping):
        raise UsageError(f"kwargs is {_described(kwargs)}", allowed="a mapping from names to values")
    return Batch(args, {**keywords, **(kwargs or {})}, before.targets if targets is None else _targets(targets, seed))


def _targets(targets: Any, seed: int) -> Any:
    if callable(targets) and not isinstance(targets, torch.Tensor):
        with told("the targets could not be made"):
            targets = called_with_seed(targets, seed)
    return as_arguments(targets, generator_of(seed, "targets"))[0][0] if isinstance(targets, str) else targets


def _steps(value: Any, label: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise TargetError(f"{label} returned {_described(value)} as 'steps'", allowed="the number of training steps, 1 or more")
    return value


def _intended(value: Any, label: str) -> Mapping[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(text, str) for pair in value.items() for text in pair):
        raise TargetError(f"{label} returned {_described(value)} as 'intended'",
                          allowed="a mapping from the path of a module, or the name of a Function, to the reason")
    return dict(value)


def _described(value: Any) -> str:
    return "nothing (None)" if value is None else f"a {kind_of(value)}"


def _hint(value: Any) -> str:
    if value is None:
        return "Does the factory end with a return statement?"
    if isinstance(value, type) and issubclass(value, nn.Module):
        return f"Return an instance: {value.__name__}(...)."
    if isinstance(value, list):
        return "Return a tuple instead of a list."
    return ""
