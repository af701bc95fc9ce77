"""Rendering needs no torch: a report can be drawn where no model could run."""

import subprocess
import sys

import pytest

from tests.reporting import golden

PROGRAM = """
import io, sys
from pathlib import Path
from gradcheck_suite.core.report import Report
from gradcheck_suite.reporting import console, github, html, junit, markdown, sarif
from gradcheck_suite.schema import load_text

report = load_text(Report, Path(sys.argv[1]).read_bytes())
for renderer in (html, junit, sarif, github, markdown):
    assert renderer.render(report)
assert html.summary_fragment(report)
stream = io.StringIO()
console.render(report, stream)
assert stream.getvalue()
print("LOADED", sorted({"torch", "hypothesis", "scipy", "matplotlib.pyplot"} & set(sys.modules)))
"""


@pytest.mark.parametrize("path", golden.saved(), ids=lambda path: path.stem)
def test_every_renderer_works_without_torch(path):
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "LOADED []"
