"""One forward pass with the inputs that were given beside a target, before anything is checked: a wrong shape is told once."""

import contextlib
import os
import traceback
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from gradcheck_suite.core.errors import TargetError, UsageError
from gradcheck_suite.core.failures import details_of, message_of
from gradcheck_suite.subject import Setup, Subject
from gradcheck_suite.targets.inference import inferred

_NOT_THEIRS: Final = tuple(str(Path(file).resolve().parent) + os.sep for file in (torch.__file__, __file__, traceback.__file__))


def tried(subject: Subject, given: tuple[str, ...]) -> Subject:
    """The subject, whose first realisation is run once and thrown away.

    Args:
        subject: with the inputs already in place.
        given: their texts, as the user wrote them.

    The ``setup`` of the result raises ``TargetError`` where the model, or the loss, raises on them.
    """
    build, fine = subject.setup, list[bool]()

    def setup(seed: int) -> Setup:
        if not fine:
            run(build(seed), subject.name, given)
            fine.append(True)
        return build(seed)

    return replace(subject, setup=setup)


def run(setup: Setup, label: str, given: tuple[str, ...]) -> None:
    """One forward pass, and the loss where there is one.

    Raises:
        TargetError: either raised; with the message, the module and the line, and what to write instead.
    """
    trail: list[str] = []
    what = "the model"
    try:
        with _followed(setup.model, trail):
            output = setup.model(*setup.batch.args, **setup.batch.kwargs)
        what = "the loss"
        if setup.loss is not None:
            setup.loss(output, setup.batch.targets)
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # the user's code may raise anything, SystemExit included
        module = f", in the module {trail[-1]!r} ({type(setup.model.get_submodule(trail[-1])).__name__})" if trail and trail[-1] else ""
        raise TargetError(f"{what} of {label} does not run on the inputs that were given ({', '.join(given)}): {message_of(error)}{module}",
                          instead=_instead(setup.model, label, what, error), details=details_of(error)) from None


@contextlib.contextmanager
def _followed(model: nn.Module, trail: list[str]) -> Iterator[None]:
    """Keep in ``trail`` the paths of the modules that are running, the outermost first."""
    handles: list[Any] = []
    for path, module in model.named_modules():
        with contextlib.suppress(RuntimeError):  # a scripted module may take no hooks
            handles.append(module.register_forward_pre_hook(partial(_entered, trail, path)))
            handles.append(module.register_forward_hook(partial(_left, trail)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _entered(trail: list[str], path: str, *_: Any) -> None:
    trail.append(path)


def _left(trail: list[str], *_: Any) -> None:
    trail.pop()


def _instead(model: nn.Module, label: str, what: str, error: BaseException) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_NOT_THEIRS)]
    place = f"Raised at {frames[-1].filename}:{frames[-1].lineno}. " if frames else ""
    if what == "the loss":
        return f"{place}Write --targets with what belongs to these inputs, or --input with the batch of the factory's own targets."
    try:
        fitting = " ".join(f"--input {text}" for text in inferred(model, label))
    except UsageError:
        return f"{place}Write --input with the shape of the whole batch that the model takes, such as --input 4x3x32x32."
    return f"{place}Write --input with the shape that the model takes: it runs on {fitting}."
