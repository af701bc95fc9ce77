"""The house: layers, light front doors, sizes and docstrings, as tables that are tested."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gradcheck_suite import catalogue

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "gradcheck_suite"
PROPERTIES = ROOT / "properties"

# layer -> the layers of ours it may import (its own always), and the heavy libraries it must not
EVERYTHING = {"api", "architectures", "captures", "catalogue", "cli", "commands", "config", "contract", "core", "engine",
              "handwritten", "numerics", "probes", "remedies", "reporting", "schema", "subject", "targets"}
LAYERS: dict[str, set[str]] = {
    "core": set(),
    "numerics": set(),
    "subject": {"core"},
    "schema": {"core"},
    "captures": {"core"},
    "architectures": {"core", "numerics", "subject"},
    "probes": {"core", "numerics", "subject", "architectures", "captures"},
    "remedies": {"core", "numerics", "subject", "architectures"},
    "properties": {"core", "numerics", "captures"},
    "catalogue": {"core"},
    "config": {"core"},
    "targets": {"core", "subject", "architectures"},
    "engine": {"core", "captures", "subject", "architectures", "probes", "remedies", "schema", "targets"},
    "reporting": {"core", "schema"},
    "contract": EVERYTHING,
    "api": EVERYTHING,
    "commands": EVERYTHING,
    "handwritten": EVERYTHING,
    "cli": EVERYTHING,
    "pytest_plugin": EVERYTHING,
}
FORBIDDEN = {
    "core": {"torch", "numpy", "scipy", "pydantic", "hypothesis", "rich", "typer", "jinja2", "matplotlib", "pytest", "psutil"},
    "numerics": {"torch", "hypothesis", "pydantic", "matplotlib"},
    "captures": {"torch", "scipy", "hypothesis", "matplotlib"},
    "properties": {"torch", "hypothesis", "matplotlib"},
    "reporting": {"torch", "hypothesis"},
    "catalogue": {"torch", "numpy", "scipy"},
}
# exceptions by name, each with its reason
LAYER_EXCEPTIONS = {
    ("core/report.py", "reporting"): "Report.to_html draws itself, inside the function",
    ("core/architecture.py", "architectures"): "Architecture.to_python prints itself, inside the function",
}
LONG_FUNCTIONS: dict[str, str] = {}
LONG_FILES: dict[str, str] = {}
MANY_PARAMETERS: dict[str, str] = {
    "gradcheck_suite/api.py:audit": "the public signature that DESIGN fixes",
    "gradcheck_suite/api.py:parametrize": "audit's options, for a decorator",
    "gradcheck_suite/cli.py:audit": "a command's options are its parameters",
    "gradcheck_suite/cli.py:search": "a command's options are its parameters",
    "gradcheck_suite/cli.py:report": "a command's options are its parameters",
}
LIGHT_DOORS = {
    "import gradcheck_suite.pytest_plugin": {"torch", "numpy", "scipy", "matplotlib", "hypothesis"},
    "from gradcheck_suite.cli import main; main(['--help'])": {"torch", "numpy", "scipy", "matplotlib", "hypothesis"},
    "from gradcheck_suite.cli import main; main(['list'])": {"torch", "numpy", "scipy", "matplotlib", "hypothesis"},
    "from gradcheck_suite.cli import main; main(['explain', 'backprop-agreement'])": {"torch", "scipy", "matplotlib", "hypothesis"},
    "import gradcheck_suite": {"torch", "numpy", "scipy", "matplotlib", "hypothesis", "pydantic"},
}


def sources() -> list[Path]:
    return sorted([*PACKAGE.rglob("*.py"), *PROPERTIES.rglob("*.py")])


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def layer_of(path: Path) -> str:
    if path.is_relative_to(PROPERTIES):
        return "properties"
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{named(path)}: write imports in full"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module == "gradcheck_suite")


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_every_layer_imports_only_what_the_table_allows():
    wrong = []
    for path in sources():
        layer = layer_of(path)
        if layer in ("__init__", "__main__"):
            continue
        for name in imports(path):
            parts = name.split(".")
            if parts[0] != "gradcheck_suite" or len(parts) == 1:
                continue
            used = parts[1]
            excused = any(named(path).endswith(place) and used == what for place, what in LAYER_EXCEPTIONS)
            if used in LAYERS and used != layer and used not in LAYERS[layer] and not excused:
                wrong.append(f"{named(path)} ({layer}) imports {name}")
    assert not wrong, "\n".join(wrong)


def test_every_source_belongs_to_a_layer():
    assert {layer_of(path) for path in sources()} - {"__init__", "__main__"} <= set(LAYERS)


def test_no_layer_imports_a_library_it_must_not():
    wrong = [f"{named(path)} imports {name}" for path in sources() for name in imports(path)
             if name.split(".")[0] in FORBIDDEN.get(layer_of(path), set())]
    assert not wrong, "\n".join(wrong)


RUNS_MODELS = {"probes", "handwritten"}  # handwritten: NumPy layers of the user's, which have no probe in a child
VERDICTS_BY_NAME = {"VIOLATED", "HOLDS"}


def calls(path: Path, name: str) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == name:
            yield node


def test_nothing_runs_a_model_but_a_probe():
    wrong = [f"{named(path)}:{call.lineno}" for path in sources() if layer_of(path) not in RUNS_MODELS
             for name in ("backward", "zero_grad") for call in calls(path, name)]
    wrong += [f"{named(path)} differentiates" for path in sources() if layer_of(path) not in RUNS_MODELS
              for name in imports(path) if name.startswith("torch.autograd")]
    assert not wrong, "\n".join(wrong)


def test_nothing_judges_but_evidence():
    """No finding is given a verdict of HOLDS or VIOLATED by name: these two come from ``Evidence.verdict`` alone."""
    wrong = []
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            words = node.keywords if isinstance(node, ast.Call) else []
            wrong += [f"{named(path)}:{word.value.lineno}" for word in words if word.arg == "verdict"
                      and any(isinstance(part, ast.Attribute) and part.attr in VERDICTS_BY_NAME for part in ast.walk(word.value))]
    assert not wrong, "\n".join(wrong)


def test_nothing_meets_a_subject_with_a_property_but_check():
    reading = {named(path) for path in sources() for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
               if isinstance(node, ast.Attribute) and ast.unparse(node) == "prop.measure"}
    assert reading == {"gradcheck_suite/engine/check.py"}


def test_nothing_imports_a_property_but_the_catalogue():
    wrong = [f"{named(path)} imports {name}" for path in sources() for name in imports(path)
             if name.split(".")[0] == "properties" or name.startswith("gradcheck_suite.properties")]
    assert not wrong, "\n".join(wrong)


def test_every_layer_exception_is_still_needed():
    for place, what in LAYER_EXCEPTIONS:
        used = {name.split(".")[1] for name in imports(PACKAGE / place) if name.startswith("gradcheck_suite.")}
        assert what in used, f"{place} no longer imports {what}"


@pytest.mark.parametrize("code", LIGHT_DOORS)
def test_a_light_door_stays_light(code):
    heavy = sorted(LIGHT_DOORS[code])
    program = (f"import sys\ntry:\n    {code}\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
               f"print('LOADED', [name for name in {heavy!r} if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_functions_are_at_most_forty_lines():
    for path in sources():
        for node in functions(path):
            name = f"{named(path)}:{node.name}"
            docstring = node.body[0].end_lineno - node.body[0].lineno + 1 if ast.get_docstring(node) else 0
            length = node.end_lineno - node.lineno + 1 - docstring
            assert length <= 40 or name in LONG_FUNCTIONS, f"{name} has {length} lines"


def test_files_are_at_most_three_hundred_lines_and_properties_half():
    for path in [*sources(), *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]:
        most = 150 if path.is_relative_to(PROPERTIES) else 300
        length = len(path.read_text(encoding="utf-8").splitlines())
        assert length <= most or named(path) in LONG_FILES, f"{named(path)} has {length} lines"


def test_functions_have_at_most_six_parameters():
    for path in sources():
        for node in functions(path):
            arguments = node.args
            count = len([a for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs) if a.arg not in ("self", "cls")])
            name = f"{named(path)}:{node.name}"
            assert count <= 6 or name in MANY_PARAMETERS, f"{name} takes {count} parameters"


def test_public_names_have_docstrings():
    for path in sources():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree) or not path.read_text(encoding="utf-8").strip(), f"{named(path)} has no docstring"
        for node in tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node) or node.name == "measure", f"{named(path)}:{node.name} has no docstring"


def test_every_property_file_has_its_sections():
    for entry in catalogue.entries():
        missing = [title for title in catalogue.SECTIONS if not entry.sections.get(title)]
        assert not missing, f"{entry.name} lacks {missing}"
        assert entry.statement.endswith("."), f"{entry.name}: the statement is a sentence"


def test_every_package_is_packaged():
    listed = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for init in PACKAGE.rglob("__init__.py"):
        name = ".".join(init.parent.relative_to(ROOT).parts)
        assert f'"{name}"' in listed, f"{name} is not listed in pyproject.toml"
