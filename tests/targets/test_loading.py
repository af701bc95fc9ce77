"""The user's code: imported under names that do not mix; its failures told by their line, not ours."""

import os
import sys
from pathlib import Path

import pytest
from torch import nn

import gradcheck_suite
from gradcheck_suite.core.errors import TargetError, UsageError
from gradcheck_suite.targets import parse, resolve
from tests.targets.conftest import MODELS


def test_two_targets_with_the_same_module_names_do_not_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    for width in (4, 5):
        home = tmp_path / f"w{width}"
        home.mkdir()
        (home / "sizes_of_it.py").write_text(f"WIDTH = {width}\n")
        (home / "late_of_it.py").write_text(f"WIDTH = {width}\n")
        (home / "model.py").write_text(
            "from torch import nn\nimport sizes_of_it\n"
            "def build():\n    import late_of_it\n    return nn.Linear(sizes_of_it.WIDTH, late_of_it.WIDTH)\n"
        )
    subjects = [resolve(parse(f"w{width}/model.py:build", tmp_path)) for width in (4, 5)]
    for _ in range(2):
        sizes = [tuple(subject.setup(0).model.weight.shape) for subject in subjects]  # type: ignore[union-attr]
        assert sizes == [(4, 4), (5, 5)]


def test_a_file_in_a_package_may_import_its_neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    package = tmp_path / "parcel_of_models"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "parts.py").write_text("from torch import nn\ndef layer(): return nn.Linear(3, 2)\n")
    (package / "net.py").write_text("from .parts import layer as build\n")
    assert isinstance(resolve(parse(f"{package}/net.py:build")).setup(0).model, nn.Linear)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("models_here.py:biuld", "Did you mean 'build'"),
        ("models_here.py:raises", r"KeyError: 'no such width'"),
        ("models_here.py:leaves", "asked Python to exit"),
        ("models_here.py:needs", "called without arguments"),
        ("models_here.py:opens", "FileNotFoundError"),
        ("models_here.py:torch", "cannot be audited"),
        ("no_such_module_at_all:x", "ModuleNotFoundError"),
    ],
)
def test_a_target_that_fails_names_the_users_line_and_no_line_of_ours(folder: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        resolve(parse(text)).setup(0)
    details = getattr(caught.value, "details", "")
    assert gradcheck_suite.__path__[0] + os.sep not in str(caught.value) + details
    if text.endswith((":raises", ":leaves")):
        assert isinstance(caught.value, TargetError)
        assert (
            f"models_here.py:{MODELS.splitlines().index(next(x for x in MODELS.splitlines() if text.split(':')[1] in x)) + 1}"
            in str(caught.value)
        )


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def build(:\n    pass\n", r"SyntaxError.*\nRaised at .*here\.py:1"),
        ("import no_such_thing_here\n", "No module named 'no_such_thing_here'"),
        ("import sys; sys.exit(0)\n", "SystemExit: 0"),
        ("import argparse; argparse.ArgumentParser().parse_args(['--x'])\n", "SystemExit: 2"),
        ("class E(BaseException):\n    def __str__(self): raise self\nraise E\n", "E: <unprintable>"),
    ],
)
def test_an_import_that_fails_is_a_target_error(tmp_path: Path, source: str, words: str, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "here.py").write_text(source)
    with pytest.raises(TargetError, match=words):
        resolve(parse(f"{tmp_path}/here.py:build"))
