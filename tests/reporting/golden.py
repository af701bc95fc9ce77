"""Golden reports: how they are rendered, scrubbed, compared and accepted.

``python -m tests.reporting.golden`` accepts: it renders every saved report again over its page. With ``--samples`` it first writes
the saved reports themselves, from ``tests/reporting/samples.py``.
"""

import json
import re
import sys
from pathlib import Path

from gradcheck_suite.core.report import Report
from gradcheck_suite.core.serialize import to_data
from gradcheck_suite.reporting.html import render
from gradcheck_suite.schema import load
from tests.reporting import samples

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "reports" / "golden"
ACTUAL = ROOT / "reports" / "actual"
SAMPLES = {"mixed": samples.mixed_report, "unfinished": samples.unfinished_report}
# what differs between versions of the drawing library and of this package, and says nothing about the page
SCRUBS = (
    (re.compile(r'(<svg class="chart".*?</desc>).*?</svg>', re.DOTALL), r"\1[drawn]</svg>"),
    (re.compile(r"gradcheck-suite \d[\w.]*"), "gradcheck-suite VERSION"),
)


def saved() -> list[Path]:
    """The saved reports."""
    return sorted(FOLDER.glob("*.json"))


def read(path: Path) -> Report:
    """A saved report."""
    return load(Report, json.loads(path.read_text(encoding="utf-8")))


def scrubbed(page: str) -> str:
    """A page without what may differ."""
    for pattern, replacement in SCRUBS:
        page = pattern.sub(replacement, page)
    return page


def accept(*, from_samples: bool) -> None:
    """Write the golden files."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, make in SAMPLES.items() if from_samples else ():
        make().to_json(FOLDER / f"{name}.json")
    for path in saved():
        path.with_suffix(".html").write_text(render(read(path)), encoding="utf-8")


def dumped(report: Report) -> str:
    """A report as its file says it."""
    return json.dumps(to_data(report), indent=1)


if __name__ == "__main__":
    accept(from_samples="--samples" in sys.argv[1:])
