"""The wheel holds every file it must and no other; the source tree is the list."""

import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def names(request, tmp_path_factory):
    folder = request.config.getoption("--wheel-folder")
    if not folder:
        folder = tmp_path_factory.mktemp("wheel")
        build_wheel(folder)
    (wheel,) = Path(folder).glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def build_wheel(folder):
    """Build from a copy, so that no build folder is left in the tree and no stale one is used."""
    import shutil
    import subprocess
    import sys

    copy = Path(folder) / "source"
    copy.mkdir()
    for name in ("gradcheck_suite", "properties"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(folder), str(copy)]
    subprocess.run(command, check=True, capture_output=True)


def files(folder, pattern):
    paths = (path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob(pattern) if path.is_file())
    return {path.as_posix() for path in paths if "__pycache__" not in path.parts}


def expected():
    package = {f"gradcheck_suite/{name}" for name in files("gradcheck_suite", "*")}
    return package | {f"gradcheck_suite/properties/{name}" for name in files("properties", "*.py")}


def test_the_wheel_holds_every_file_of_the_package_and_the_catalogue(names):
    code = {name for name in names if ".dist-info/" not in name}
    assert code == expected()


def test_no_top_level_module_is_called_properties(names):
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"gradcheck_suite"}


def test_the_wheel_carries_licence_and_entry_points(names):
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert any(name.endswith("entry_points.txt") for name in names)
    assert "gradcheck_suite/py.typed" in names
