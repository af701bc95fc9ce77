"""Targets: from a text such as ``pkg.module:factory``, or from a Python object, to a ``Subject``.

Parsing a target needs neither torch nor the user's code; resolving it imports both.
"""

from typing import TYPE_CHECKING, Any

from gradcheck_suite.targets.grammar import Options, Settings, Target, parse

if TYPE_CHECKING:
    from gradcheck_suite.subject import Subject

__all__ = ["Options", "Settings", "Target", "parse", "resolve", "subject_of"]


def resolve(target: Target, options: Options | None = None) -> "Subject":
    """The subject that a parsed target names; imports the user's code, in this process.

    Raises:
        TargetError: it could not be imported or built, or is not what a target may be.
    """
    return target.resolve(options or Options())


def subject_of(value: Any, settings: Settings | None = None, *, name: str = "") -> "Subject":
    """The subject of a Python object: a module, a module class, a factory, a ``Subject``, or the text of a target.

    Settings win over what the factory returns. ``name`` is shown to people; without it the object's own name is.

    Raises:
        UsageError: the value is none of these; or, for a text, it is not the form of a target.
    """
    from gradcheck_suite.targets.subjects import subject_of as make

    return make(value, settings or Settings(), name)
