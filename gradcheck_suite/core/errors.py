"""The exceptions that carry a message meant for a person."""

import difflib
from collections.abc import Iterable


class GradcheckError(Exception):
    """Base of every error this package raises on purpose."""


class UsageError(GradcheckError):
    """Bad input: the command line ends with exit code 2.

    The message says what was got, what is allowed and what to write instead.
    """

    def __init__(self, got: str, *, allowed: str = "", instead: str = "") -> None:
        self.got, self.allowed, self.instead = got, allowed, instead
        parts = [got, f"Allowed: {allowed}." if allowed else "", instead]
        super().__init__("\n".join(part for part in parts if part))


class TargetError(UsageError):
    """The target could not be imported or built: the user's code failed before there was anything to check (exit code 2).

    ``details`` is the tail of the user's own traceback; data of theirs, shown literally.
    """

    def __init__(self, got: str, *, allowed: str = "", instead: str = "", details: str = "") -> None:
        super().__init__(got, allowed=allowed, instead=instead)
        self.details = details


class NotApplicable(GradcheckError):
    """A condition of a statement is not met; the text is that condition, as a fact about the subject."""


class SubjectError(GradcheckError):
    """The subject itself failed (it could not be built, or raised in its forward pass, backward pass or optimiser).

    Attributes:
        stage: where it failed: ``import``, ``build``, ``forward``, ``backward``, ``step`` or a probe's name.
        module: dotted path of the module that was running, where known.
        details: traceback tail or log tail; data of the user's, shown literally.
    """

    def __init__(self, message: str, *, stage: str, module: str | None = None, details: str = "") -> None:
        super().__init__(message)
        self.stage, self.module, self.details = stage, module, details


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """``"Did you mean 'x'? "`` with the closest of the names, or nothing where none is close."""
    close = difflib.get_close_matches(word, list(names), n=1)
    return f"Did you mean {close[0]!r}? " if close else ""
