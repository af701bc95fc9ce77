"""Remedies: changes to a subject, each in a file of its own, so that a property can be measured again on the changed copy.

A remedy is a function ``(setup) -> Setup`` in the module that bears its name: ``remedies/he_initialization.py`` defines
``he_initialization``, which properties name ``"he-initialization"``. It may change the model in place, for it is given one that nobody
else holds, and raises ``NotApplicable`` with a fact where there is nothing it could change. It never runs the model. The docstring of its
file says in the first line what it does, and then in sections when it helps and when it does not. Modules whose name begins with an
underscore are tools of the remedies.
"""

import ast
import copy
import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from gradcheck_suite.core.errors import GradcheckError, NotApplicable, SubjectError
from gradcheck_suite.core.failures import details_of, message_of
from gradcheck_suite.subject import Setup, Subject

Remedy = Callable[[Setup], Setup]

_SECTION: Final = re.compile(r"^(\S.*)\n-{3,}$", re.MULTILINE)


def names() -> tuple[str, ...]:
    """The names of all remedies, in alphabetical order."""
    return tuple(sorted(path.stem.replace("_", "-") for path in Path(__file__).parent.glob("[!_]*.py")))


def remedy(name: str) -> Remedy:
    """The remedy of that name.

    Raises:
        LookupError: there is none.
    """
    _exists(name)
    stem = name.replace("-", "_")
    found: Remedy = getattr(importlib.import_module(f"{__name__}.{stem}"), stem)
    return found


@dataclass(frozen=True, slots=True)
class About:
    """What the file of a remedy says of it: what it does in one sentence, and the sections of its docstring by their titles."""

    does: str
    sections: dict[str, str]


def about(name: str) -> About:
    """What the file of a remedy says, read without importing it (and torch with it).

    Raises:
        LookupError: there is no such remedy.
    """
    source = _exists(name).read_text(encoding="utf-8")
    does, *parts = _SECTION.split(ast.get_docstring(ast.parse(source)) or "")
    sections = {title.strip(): " ".join(text.split()) for title, text in zip(parts[::2], parts[1::2], strict=True)}
    return About(" ".join(does.split()), sections)


def remedied(subject: Subject, name: str) -> Subject:
    """The subject with a remedy applied to every realisation; the models that the subject itself makes stay as they are.

    It keeps its name, so that seeds, batches and draws are those of the subject.

    Raises:
        LookupError: there is no such remedy.
    """
    return replace(subject, setup=_Remedied(subject, name), architecture=None, remedy=name, widened=None)


class _Remedied:
    """The ``setup`` of a remedied subject. It raises ``NotApplicable`` where the remedy does, ``SubjectError`` where it fails."""

    def __init__(self, subject: Subject, name: str) -> None:
        self._subject, self._name, self._change = subject, name, remedy(name)
        self._shared: bool | None = None if subject.fresh else True

    def __call__(self, seed: int) -> Setup:
        made = self._subject.setup(seed)
        if self._shared is None:
            before, made = made, self._subject.setup(seed)
            self._shared = _share(before, made)
        try:
            return self._change(_copied(made) if self._shared else made)
        except GradcheckError:
            raise
        except Exception as error:
            told = f"{self._name} could not be applied: {message_of(error)}"
            raise SubjectError(told, stage="build", details=details_of(error)) from error


def _share(first: Setup, second: Setup) -> bool:
    """Whether two realisations have a parameter or a module in common: a factory may return the same model again and again."""
    held = {id(part) for part in (*first.model.modules(), *first.model.parameters())}
    return any(id(part) in held for part in (*second.model.modules(), *second.model.parameters()))


def _copied(setup: Setup) -> Setup:
    try:
        return replace(setup, model=copy.deepcopy(setup.model))
    except Exception as error:
        raise NotApplicable(f"the model cannot be copied: {message_of(error)}") from error


def _exists(name: str) -> Path:
    if name not in names():
        raise LookupError(f"no remedy is called {name!r}; there are {', '.join(names())}")
    return Path(__file__).parent / f"{name.replace('-', '_')}.py"
