"""The catalogue: finds property folders, loads their files, and fills in what path and docstring say.

A folder is a family, a file is a property, the file name is its id. A file *returns* a value (``PROPERTY``); nothing registers
itself. Each file is loaded under ``gradcheck_suite.properties.<family>.<stem>``, users' own under a name of their folder's.
"""

import ast
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

from gradcheck_suite.core.errors import UsageError, did_you_mean
from gradcheck_suite.core.property import Property

SECTIONS = ("Conditions", "Why it matters", "Measured", "Error", "When violated", "Limits", "Sources")
_NAME = re.compile(r"[a-z][a-z0-9_]*\.py")


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
    value = _arguments(tree).get("level")
    return value.attr.lower() if isinstance(value, ast.Attribute) else "requirement"


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


def choose(found: Iterable[Entry], select: Sequence[str] = (), ignore: Sequence[str] = ()) -> tuple[Entry, ...]:
    """Those selected and not ignored; each word is a property id, ``family/id``, a family, or a symptom.

    Raises:
        UsageError: a word matches nothing; the closest name is offered.
    """
    pool = tuple(found)
    wanted = pool if not select else tuple(e for e in pool if any(matches(e, word) for word in select))
    for word in (*select, *ignore):
        if not any(matches(entry, word) for entry in pool):
            raise UsageError(f"no property, family or symptom is called {word!r}", instead=_closest(word, pool))
    return tuple(e for e in wanted if not any(matches(e, word) for word in ignore))


def matches(entry: Entry, word: str) -> bool:
    """Whether a word names the entry: id, ``family/id``, family, or part of a symptom."""
    plain = word.strip().lower().replace("_", "-")
    symptoms = [symptom.lower().replace("_", "-") for symptom in entry.symptoms]
    return plain in (entry.id, entry.name, entry.family) or any(plain == s or plain.replace("-", " ") in s for s in symptoms if plain)


def _closest(word: str, pool: Sequence[Entry]) -> str:
    names = {name for entry in pool for name in (entry.id, entry.name, entry.family, *entry.symptoms)}
    return did_you_mean(word.lower().replace("_", "-"), names) + "All of them: gradcheck list"
