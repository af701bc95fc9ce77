"""The catalogue: finds property folders, loads their files, and fills in what path and docstring say.

A folder is a family, a file is a property, the file name is its id. A file *returns* a value (``PROPERTY``); nothing registers
itself. Each file is loaded under ``gradcheck_suite.properties.<family>.<stem>``, users' own under a name of their folder's.
"""

import ast
import difflib
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

from gradcheck_suite.core.errors import UsageError
from gradcheck_suite.core.property import Property

SECTIONS = ("Conditions", "Why it matters", "Measured", "Error", "When violated", "Limits", "Sources")
_NAME = re.compile(r"[a-z][a-z0-9_]*\.py")
_SIGNATURE = b"PROPERTY = Property("
_OFFERED = 3


def builtin_folder() -> Path:
    """``gradcheck_suite/properties`` in an installed wheel, ``properties/`` beside the package in a checkout."""
    package = Path(__file__).parent
    installed = package / "properties"
    return installed if installed.is_dir() else package.parent / "properties"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of the catalogue, read but not run: all that ``list`` and ``explain`` need."""

    path: Path
    family: str
    id: str
    statement: str
    sections: dict[str, str]
    symptoms: tuple[str, ...]
    level: str

    @property
    def name(self) -> str:
        """``family/id``."""
        return f"{self.family}/{self.id}"


def entries(folders: Sequence[Path] = ()) -> tuple[Entry, ...]:
    """Every property file of the built-in catalogue and of further folders, in order of family and id.

    Raises:
        UsageError: a folder does not exist, or two files share a name.
    """
    found: dict[str, Entry] = {}
    for folder in (builtin_folder(), *folders):
        if not folder.is_dir():
            raise UsageError(f"no such folder of properties: {folder}", instead="Create one with: gradcheck new family/name")
        for path in files(folder):
            entry = read(path)
            if entry.name in found and found[entry.name].path != path:
                raise UsageError(f"two properties are called {entry.name}: {found[entry.name].path} and {path}")
            found[entry.name] = entry
    return tuple(found[name] for name in sorted(found))


def files(folder: Path) -> Iterator[Path]:
    """The property files of a folder: ``family/id.py``."""
    for path in sorted(folder.glob("*/*.py")):
        if _NAME.fullmatch(path.name) and _NAME.fullmatch(path.parent.name + ".py"):
            yield path


def is_property_file(path: Path) -> bool:
    """Whether a file is a property, as far as can be told without running it: when in doubt it is not.

    It is called ``family/id.py``, is no test, says ``PROPERTY = Property(...)`` with a ``Property`` imported from here, and
    is not a part of this package outside of the catalogue.
    """
    if not _NAME.fullmatch(path.name) or not _NAME.fullmatch(path.parent.name + ".py"):
        return False
    if path.name.startswith(("test_", "conftest")) or path.name.endswith("_test.py"):
        return False
    if path.is_relative_to(Path(__file__).parent) and not path.is_relative_to(builtin_folder()):
        return False
    try:
        written = path.read_bytes()
        return _SIGNATURE in written and b"gradcheck_suite" in written and _is_property(ast.parse(written))
    except (OSError, SyntaxError, ValueError):
        return False


def _is_property(tree: ast.Module) -> bool:
    ours = {alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
            if (node.module or "").partition(".")[0] == "gradcheck_suite" and alias.name == "Property"}
    made = [node.value for node in tree.body if isinstance(node, ast.Assign)
            and any(isinstance(target, ast.Name) and target.id == "PROPERTY" for target in node.targets)]
    return any(isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in ours for value in made)


def read(path: Path) -> Entry:
    """What a property file says of itself, without running it.

    Raises:
        UsageError: it is not Python, or has no docstring.
    """
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not a Python file: {error}") from None
    docstring = ast.get_docstring(tree)
    if not docstring:
        raise UsageError(f"{path} has no docstring", instead="Its first line must be the statement that the property makes.")
    statement, sections = parse_docstring(docstring)
    return Entry(path, path.parent.name, path.stem.replace("_", "-"), statement, sections, _literal(tree, "symptoms"), _level(tree))


def parse_docstring(docstring: str) -> tuple[str, dict[str, str]]:
    """The statement (first paragraph, joined) and the sections (title underlined with dashes -> text)."""
    parts = re.split(r"^([A-Z][^\n]*)\n-{3,}\s*$", docstring, flags=re.MULTILINE)
    statement = " ".join(parts[0].strip().split("\n\n")[0].split())
    return statement, {title.strip(): text.strip() for title, text in zip(parts[1::2], parts[2::2], strict=True)}


def _arguments(tree: ast.Module) -> dict[str, ast.expr]:
    for node in tree.body:
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
            continue
        if any(isinstance(target, ast.Name) and target.id == "PROPERTY" for target in node.targets):
            return {keyword.arg: keyword.value for keyword in node.value.keywords if keyword.arg}
    return {}


def _literal(tree: ast.Module, name: str) -> tuple[str, ...]:
    value = _arguments(tree).get(name)
    try:
        return tuple(map(str, ast.literal_eval(value))) if value is not None else ()
    except ValueError:
        return ()


def _level(tree: ast.Module) -> str:
    """The level of the property; ``requirement or indicator`` where a piece of its evidence may carry the other one."""
    own = _arguments(tree).get("level")
    level = own.attr.lower() if isinstance(own, ast.Attribute) else "requirement"
    said = {name.attr.lower() for call in ast.walk(tree) if isinstance(call, ast.Call) for keyword in call.keywords
            if keyword.arg == "level" and keyword.value is not own for name in ast.walk(keyword.value)
            if isinstance(name, ast.Attribute) and isinstance(name.value, ast.Name) and name.value.id == "Level"}
    return " or ".join(name for name in ("requirement", "indicator") if name in said | {level})


def load(entry: Entry) -> Property:
    """Run a property file and return its ``PROPERTY``, completed from path and docstring.

    Raises:
        UsageError: the file raises, or has no ``PROPERTY``.
    """
    return _load(entry.path)


@cache
def _load(path: Path) -> Property:
    entry = read(path)
    module = _module(entry)
    value = getattr(module, "PROPERTY", None)
    if not isinstance(value, Property):
        raise UsageError(f"{path} has no PROPERTY", allowed="a gradcheck_suite.Property",
                         instead="End the file with: PROPERTY = Property(measure=measure)")
    return value.filled(id=entry.id, family=entry.family, statement=entry.statement, sections=entry.sections, source_file=str(path))


def _module(entry: Entry) -> ModuleType:
    home = "gradcheck_suite.properties" if entry.path.parent.parent == builtin_folder() else "gradcheck_suite_user_properties"
    name = f"{home}.{entry.family}.{entry.path.stem}"
    spec = importlib.util.spec_from_file_location(name, entry.path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{entry.path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise UsageError(f"{entry.path} raised {type(error).__name__}: {error}") from error
    return module


def choose(found: Iterable[Entry], select: Sequence[str] = (), ignore: Sequence[str] = (), *, partly: bool = False) -> tuple[Entry, ...]:
    """Those selected and not ignored; each word is a property id, ``family/id``, a family, or a symptom.

    Args:
        found: what is chosen from.
        select: words that choose; all where empty.
        ignore: words that leave out.
        partly: whether a part of a symptom will do as well, as for people who look for a statement.

    Raises:
        UsageError: a word matches nothing; the closest names are offered.
    """
    pool = tuple(found)
    meant = {word: named(pool, word, partly=partly) for word in (*select, *ignore)}
    for word, entries_of in meant.items():
        if not entries_of:
            raise UsageError(f"no property, family or symptom is called {word!r}", instead=_closest(word, pool))
    kept = {entry.name for word in select for entry in meant[word]} if select else {entry.name for entry in pool}
    kept -= {entry.name for word in ignore for entry in meant[word]}
    return tuple(entry for entry in pool if entry.name in kept)


def named(pool: Sequence[Entry], word: str, *, partly: bool = False) -> tuple[Entry, ...]:
    """The entries that a word means: those of that id, ``family/id`` or family; only where there are none, those of that symptom.

    Case does not count, and a hyphen, an underscore and a space are the same. ``partly``: all of these, and those that have the
    word in a symptom.
    """
    plain = _plain(word)
    found = tuple(entry for entry in pool if plain in (_plain(entry.id), _plain(entry.name), _plain(entry.family)))
    if not plain or (found and not partly):
        return found
    said = tuple(entry for entry in pool if any(plain == text or (partly and plain in text) for text in map(_plain, entry.symptoms)))
    return tuple(entry for entry in pool if entry in found or entry in said)


def _plain(word: str) -> str:
    return " ".join(re.sub("[-_]", " ", word).lower().split())


def _closest(word: str, pool: Sequence[Entry]) -> str:
    """The names nearest to a word that names nothing: those spelt alike, then symptoms that it is a part of."""
    names = {_plain(name): name for entry in pool for name in (*entry.symptoms, entry.family, entry.name if "/" in word else entry.id)}
    plain = _plain(word)
    alike = difflib.get_close_matches(plain, names, n=_OFFERED)
    within = sorted(name for name in names if plain and plain in name)
    offered = [repr(names[name]) for name in dict.fromkeys((*alike, *within))][:_OFFERED]
    return (f"Did you mean {' or '.join(offered)}? " if offered else "") + "All of them: gradcheck list"
