"""The text form of a target and its options: checked and split here, without importing anything of the user's."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from gradcheck_suite.core.errors import UsageError

if TYPE_CHECKING:
    from gradcheck_suite.subject import Subject

Mode = Literal["", "train", "eval"]
Zoo = Literal["timm", "torchvision", "hf"]
ZOOS: Final[dict[str, Zoo]] = {"timm": "timm", "torchvision": "torchvision", "hf": "hf"}
FORMS: Final = "pkg.module:factory, path/file.py:factory, timm:NAME, torchvision:NAME, hf:NAME"
_DOTTED: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says beside a target; texts only, so that it travels to a child process.

    Attributes:
        inputs: one text per positional argument: a shape ``4x3x32x32``; ``name=shape`` for a keyword argument;
            ``long:4x16:1000`` for integers from 0 to 999; or one ``pkg.module:make`` that returns the inputs.
        targets: the loss's targets, in the same form.
        loss: ``pkg.module:loss``, called as ``loss(output, targets)``; a class is instantiated without arguments.
        mode: ``train``, ``eval``, or ``""``: as the factory leaves it.
        trial: whether the given inputs are first tried in one forward pass, which tells a wrong shape as the target's error.
    """

    inputs: tuple[str, ...] = ()
    targets: str = ""
    loss: str = ""
    mode: Mode = ""
    trial: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the Python API says beside a target; ``None`` and ``""`` leave a factory's own answer in place.

    Attributes:
        inputs: a tensor; a tuple of arguments; a mapping of keyword arguments; a shape (tuple of int, or text as in
            ``Options.inputs``); or a callable ``seed -> any of these``.
        kwargs: keyword arguments beside ``inputs``.
        targets: second argument of the loss.
        loss: ``(output, targets) -> scalar``, or its text as in ``Options.loss``.
        optimizer: ``(parameters) -> torch.optim.Optimizer``.
        mode: ``train``, ``eval``, or ``""``.
    """

    inputs: Any = None
    kwargs: Any = None
    targets: Any = None
    loss: Any = None
    optimizer: Any = None
    mode: Mode = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A parsed target: plain text, so it can be compared, stored and sent to a child process.

    Attributes:
        text: as the user wrote it; also the subject's name.
        kind: ``module``, ``file``, ``timm``, ``torchvision`` or ``hf``.
        place: dotted module name, absolute path, or the zoo's name of a model.
        attribute: dotted name within the module; ``""`` for a zoo.
        folder: what is put on ``sys.path``: the working directory, or the file's folder.
    """

    text: str
    kind: Literal["module", "file", "timm", "torchvision", "hf"]
    place: str
    attribute: str = ""
    folder: str = ""

    def resolve(self, options: Any) -> "Subject":
        """The subject, made in this process; see ``gradcheck_suite.targets.resolve``."""
        from gradcheck_suite.targets.subjects import resolve

        return resolve(self, options)


def parse(text: str, folder: str | os.PathLike[str] | None = None) -> Target:
    """Split a target's text; relative paths and module names start from ``folder`` (the working directory).

    Raises:
        UsageError: it has none of the forms, or names a file that does not exist.
    """
    base = os.path.abspath(os.getcwd() if folder is None else folder)
    place, colon, attribute = text.rpartition(":")
    if not colon or not place or not attribute or "\0" in text:
        raise UsageError(f"{text!r} is not a target", allowed=FORMS, instead=_instead(text))
    if place in ZOOS:
        return Target(text=text, kind=ZOOS[place], place=attribute)
    if not _DOTTED.fullmatch(attribute):
        raise UsageError(f"{attribute!r} in the target {text!r} is not a name in a module", allowed=FORMS,
                         instead="Write the name of a factory, a class or a model after the colon.")
    if place.endswith(".py") or os.sep in place or "/" in place:
        return _file(text, place, attribute, base)
    if not _DOTTED.fullmatch(place):
        raise UsageError(f"{place!r} in the target {text!r} is not a module name", allowed=FORMS,
                         instead="Write a dotted module name or the path of a .py file before the colon.")
    return Target(text=text, kind="module", place=place, attribute=attribute, folder=base)


def _file(text: str, place: str, attribute: str, base: str) -> Target:
    path = Path(base, os.path.expanduser(place))
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise UsageError(f"the file {place!r} of the target {text!r} {what}", allowed=FORMS,
                         instead=f"Relative paths start from {base}.")
    return Target(text=text, kind="file", place=str(path.resolve()), attribute=attribute, folder=str(path.resolve().parent))


def _instead(text: str) -> str:
    """What to write instead of a text that has no colon, or nothing on one side of it."""
    stem = text.strip(":")
    if stem in ZOOS:
        return f"Write {stem}:NAME, where NAME is a model of that library."
    if stem.endswith(".py"):
        return f"Write {stem}:NAME, where NAME is a factory, a class or a model in that file."
    module, dot, name = stem.rpartition(".")
    if dot and _DOTTED.fullmatch(stem):
        return f"Write {module}:{name}."
    return "Write the module, a colon, and the name of the factory in it."
