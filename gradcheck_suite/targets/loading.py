"""The user's code is imported here, and nowhere else."""

import contextlib
import hashlib
import importlib
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Final

from gradcheck_suite.core.errors import TargetError, UsageError
from gradcheck_suite.core.failures import details_of, location_of, message_of, shown
from gradcheck_suite.targets.grammar import Target

_OURS: Final = str(Path(__file__).resolve().parents[1]) + os.sep
_LIBRARY: Final = os.path.join(os.path.dirname(importlib.__file__), "")
MARKER: Final = "GRADCHECK_CHILD"
_hidden: Final[dict[str, dict[str, ModuleType]]] = {}
_active: list[str] = []


def load(target: Target) -> Any:
    """The attribute that a ``module`` or ``file`` target names.

    Raises:
        TargetError: the import failed, or there is no such attribute.
    """
    folder = import_root(target)
    with told(f"the target {target.text!r} could not be imported"):
        activate(folder)
        module = _module_of_file(Path(target.place), folder) if target.kind == "file" else importlib.import_module(target.place)
    found: Any = module
    for part in target.attribute.split("."):
        if not hasattr(found, part):
            raise TargetError(f"{target.place!r} has no attribute {part!r}", instead=_has(found, part))
        found = getattr(found, part)
    return found


def _has(holder: Any, wanted: str) -> str:
    """What to write instead of a name that a module or a class has not: the closest, or all that may be meant."""
    values = vars(holder) if hasattr(holder, "__dict__") else {}
    names = sorted(name for name, value in values.items() if not name.startswith("_") and not isinstance(value, ModuleType))
    close = get_close_matches(wanted, names, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"It has: {', '.join(names[:20])}." if names else ""


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """Any exception of the user's inside, ``SystemExit`` included, as a ``TargetError`` that names their file and line."""
    try:
        yield
    except (UsageError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        place = location_of(error)
        ending = " (it asked Python to exit)" if isinstance(error, SystemExit) else ""
        advice = " ".join([f"Raised at {place}." if place and not place.startswith(_LIBRARY) else "", _advice(error)]).strip()
        raise TargetError(f"{what}: {message_of(error)}{ending}", instead=advice, details=details_of(error)) from None


def _advice(error: BaseException) -> str:
    """What to do about the failures that the way we call the user's code makes likely."""
    name = getattr(error, "filename", None)
    if isinstance(error, FileNotFoundError) and isinstance(name, str) and not os.path.isabs(name) and MARKER in os.environ:
        return "The model runs in an empty scratch folder: build its paths from __file__, or write --isolation none."
    if isinstance(error, ModuleNotFoundError) and sys.path and not list(_files(error.__traceback__)):
        return f"Modules are looked for in {sys.path[0]} and among those installed; for a file write path/file.py:NAME."
    if isinstance(error, TypeError) and "required positional argument" in shown(error):
        return "A factory is called without arguments: give them defaults."
    return ""


def _files(traceback: TracebackType | None) -> Iterator[str]:
    """Files of a traceback that are neither ours nor the import machinery's."""
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if not file.startswith((_OURS, _LIBRARY, "<frozen ")):
            yield file
        traceback = traceback.tb_next


def import_root(target: Target) -> str:
    """The folder that must be on ``sys.path``: that of the outermost package around a file, or the working directory."""
    folder = Path(target.folder)
    while target.kind == "file" and (folder / "__init__.py").is_file() and folder.parent != folder:
        folder = folder.parent
    return str(folder)


def activate(folder: str) -> None:
    """Put ``folder`` first on ``sys.path`` and make its modules the visible ones where names clash.

    Two targets may each have a ``helpers.py`` beside them. A module of another target's folder that bears a name found in
    this one is taken out of ``sys.modules`` while this one is active, and put back when its turn comes.
    """
    for other in [known for known in _active if known != folder]:
        clashing = _clashing(other, folder)
        _hidden.setdefault(other, {}).update(clashing)
        for name in clashing:
            sys.modules.pop(name, None)
        if other in sys.path:
            sys.path.remove(other)
    if folder not in _active:
        _active.append(folder)
    if sys.path[:1] != [folder]:
        sys.path.insert(0, folder)
    sys.modules.update(_hidden.pop(folder, {}))
    importlib.invalidate_caches()


def _clashing(other: str, folder: str) -> dict[str, ModuleType]:
    """Loaded modules whose file lies under ``other`` and whose top-level name ``folder`` has as well."""
    found = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        top = name.partition(".")[0]
        if isinstance(file, str) and _inside(file, other) and not _inside(file, folder) and (
                os.path.isfile(os.path.join(folder, f"{top}.py")) or os.path.isdir(os.path.join(folder, top))):
            found[name] = module
    return found


def _inside(path: str, folder: str) -> bool:
    return os.path.abspath(path).startswith(os.path.abspath(folder).rstrip(os.sep) + os.sep)


def _module_of_file(path: Path, root: str) -> ModuleType:
    """A file inside a package under its package name, so that relative imports work; any other under a name of its own."""
    if path.parent != Path(root):
        return importlib.import_module(".".join(path.relative_to(root).with_suffix("").parts))
    name = f"_gradcheck_target_{path.stem}_{hashlib.sha256(str(path).encode('utf-8', 'surrogateescape')).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_loader(name, importlib.machinery.SourceFileLoader(name, str(path)))
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module
