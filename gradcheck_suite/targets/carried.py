"""What a call in Python says beside a target, brought to a child process: as texts where there are texts, tensors in a file."""

import functools
import importlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from gradcheck_suite.core.errors import UsageError
from gradcheck_suite.core.failures import kind_of, message_of
from gradcheck_suite.subject import Batch
from gradcheck_suite.targets.grammar import Options, Settings
from gradcheck_suite.targets.inputs import as_arguments
from gradcheck_suite.targets.returned import generator_of

_SCRIPT: Final = "gradcheck_given.py"
_DATA: Final = "given.pt"
_MAKERS: Final = '''"""What a call of audit was given beside its target."""

from pathlib import Path

from gradcheck_suite.targets.carried import batch_of, targets_of


def inputs(seed):
    return batch_of(Path(__file__).parent, seed)


def targets():
    return targets_of(Path(__file__).parent)
'''


def options_of(settings: Settings, folder: Path) -> Options:
    """Settings as options. What has no text form is written into ``folder``, which must outlive the child processes.

    Raises:
        UsageError: something can travel in neither form; it says what to write instead.
    """
    if settings.optimizer is not None:
        raise UsageError("an optimizer cannot be given to child processes",
                         instead='Let the factory return it, {"model": model, "optimizer": optimizer}, or write isolation="none".')
    if settings.kwargs is not None and (settings.inputs is None or callable(settings.inputs)):
        raise UsageError("kwargs can be given to child processes only beside inputs that are data",
                         instead="Give the inputs as tensors or a shape, or let the function of the inputs return a mapping.")
    data: dict[str, Any] = {}
    inputs, targets = _text(settings.inputs, "inputs"), _text(settings.targets, "targets")
    if settings.inputs is not None and (inputs is None or settings.kwargs is not None):
        data["inputs"], data["kwargs"] = settings.inputs, dict(settings.kwargs or {})
        inputs = f"{folder / _SCRIPT}:inputs"
    if settings.targets is not None and targets is None:
        data["targets"], targets = settings.targets, f"{folder / _SCRIPT}:targets"
    if data:
        _write(data, folder)
    loss = _text(settings.loss, "loss") if settings.loss is not None else ""
    if loss is None:
        raise UsageError(f"the loss is a {kind_of(settings.loss)}, which cannot be given to child processes", instead=_by_name("loss"))
    return Options(inputs=(inputs,) if inputs else (), targets=targets or "", loss=loss, mode=settings.mode)


def batch_of(folder: Path, seed: int) -> Batch:
    """The inputs that ``options_of`` wrote, as the arguments of a call."""
    data = torch.load(folder / _DATA, weights_only=True)
    args, kwargs = as_arguments(data["inputs"], generator_of(seed, "inputs"))
    return Batch(args, {**kwargs, **data["kwargs"]})


def targets_of(folder: Path) -> Any:
    """The targets that ``options_of`` wrote."""
    return torch.load(folder / _DATA, weights_only=True)["targets"]


def _text(value: Any, what: str) -> str | None:
    """A value in its text form; ``None`` where it has none, and for ``None``.

    Raises:
        UsageError: it is a function that cannot be found by its name.
    """
    if isinstance(value, str):
        return value
    if what == "inputs" and type(value) in (tuple, torch.Size) and value and all(type(size) is int for size in value):
        return "x".join(map(str, value))
    if callable(value) and not isinstance(value, torch.Tensor | Mapping | torch.nn.Module):
        return _name(value, what)
    return None


def _name(value: Any, what: str) -> str:
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if isinstance(module, str) and isinstance(name, str) and module != "__main__" and "<" not in name:
        try:
            found = functools.reduce(getattr, name.split("."), importlib.import_module(module))
        except (ImportError, AttributeError):
            found = None
        if found is value:
            return f"{module}:{name}"
    raise UsageError(f"{name or kind_of(value)!r}, given as {what}, has no name in a module by which child processes could find it",
                     instead=_by_name(what))


def _by_name(what: str) -> str:
    return f'Write {what}="pkg.module:NAME", let the factory return it, or write isolation="none".'


def _write(data: dict[str, Any], folder: Path) -> None:
    try:
        torch.save(data, folder / _DATA)
        torch.load(folder / _DATA, weights_only=True)
    except (pickle.PickleError, AttributeError, TypeError, RuntimeError) as error:
        raise UsageError(f"{' and '.join(data)} cannot be given to child processes: {message_of(error).splitlines()[0]}",
                         allowed="tensors, numbers and texts, also in tuples, lists and dictionaries",
                         instead='Write inputs="pkg.module:make", a function that returns them, or isolation="none".') from None
    (folder / _SCRIPT).write_text(_MAKERS, encoding="utf-8")
