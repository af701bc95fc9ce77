"""Targets that cannot be imported or built: said as a usage error that names the user's own line."""

import os
from pathlib import Path

import pytest

import gradcheck_suite
from gradcheck_suite.core.budget import budget
from gradcheck_suite.core.errors import TargetError, UsageError
from gradcheck_suite.engine.sources import ChildSource, Limits
from gradcheck_suite.targets import Options, parse
from tests.hostile.table import FACTORIES, IMPORTS, MIB, MODELS

LIMITS = Limits(seconds=3.0, log=4 * MIB)
PATIENT = Limits(seconds=20.0, log=4 * MIB)


def refused(target: str, *, ends: bool) -> str:
    source = ChildSource(parse(target), Options(), budget("quick"), 0, PATIENT if ends else LIMITS)
    try:
        with pytest.raises(UsageError) as caught:
            assert source.facts
        with pytest.raises(UsageError):
            source.capture("structure")
        assert isinstance(caught.value, TargetError)
        assert gradcheck_suite.__path__[0] + os.sep not in str(caught.value)
        return str(caught.value)
    finally:
        source.close()


@pytest.mark.parametrize("name", IMPORTS)
def test_an_import_that_fails(tmp_path: Path, name: str) -> None:
    import re

    text, words = IMPORTS[name]
    (tmp_path / "here.py").write_text(text, encoding="utf-8", errors="surrogateescape")
    assert re.search(words, refused(f"{tmp_path}/here.py:build", ends=name != "never-ends"))


@pytest.mark.parametrize("name", FACTORIES)
def test_a_factory_that_fails(name: str) -> None:
    import re

    assert re.search(FACTORIES[name], refused(f"{MODELS / 'factories.py'}:{name}", ends=name != "never_returns"))


def test_an_import_that_moves_away_is_audited(tmp_path: Path) -> None:
    (tmp_path / "here.py").write_text(
        "import os, sys, tempfile\nfrom torch import nn\nos.chdir(tempfile.gettempdir())\nos.environ.clear()\nsys.argv[:] = ['hijacked']\n"
        "sys.path[:] = [entry for entry in sys.path if 'never' not in entry]\n"
        "def build(): return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))\n"
    )
    source = ChildSource(parse(f"{tmp_path}/here.py:build"), Options(), budget("quick"), 0, PATIENT)
    assert source.capture("repeated_pass")
    source.close()


def test_two_targets_with_the_same_module_name_do_not_mix(tmp_path: Path) -> None:
    sources = []
    for width in (4, 5):
        home = tmp_path / str(width)
        home.mkdir()
        (home / "sizes.py").write_text(f"WIDTH = {width}\n")
        (home / "model.py").write_text("import sizes\nfrom torch import nn\ndef build(): return nn.Linear(sizes.WIDTH, 1)\n")
        sources.append(ChildSource(parse(f"{home}/model.py:build"), Options(), budget("quick"), 0, PATIENT))
    assert [source.facts.parameters for source in sources] == [5, 6]
    for source in sources:
        source.close()
