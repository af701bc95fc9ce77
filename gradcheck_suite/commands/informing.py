"""``gradcheck list``, ``explain``, ``new`` and ``doctor``: nothing here runs a model."""

import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from gradcheck_suite import catalogue
from gradcheck_suite.core.errors import UsageError

_TINY = "import torch\n\n\ndef build():\n    return torch.nn.Linear(2, 2), (torch.zeros(1, 2),)\n"

SKELETON = '''"""{words} <say here what is true: one sentence>.

Conditions
----------
Which models and inputs the statement speaks of; everything else is not applicable.

Why it matters
--------------
What goes wrong in training when it does not hold.

Measured
--------
The quantity, its unit, and the probe that sees it.

Error
-----
Where the error of the measured value comes from, and why the bound on it is a bound.

When violated
-------------
What the reader should look at and change.

Limits
------
What the statement does not say.

Sources
-------
The derivation, or the paper and its section.
"""

from gradcheck_suite.captures.backward_pass import BackwardPass
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Level
from gradcheck_suite.core.property import Property

_NETWORK = Architecture(input_shape=(4,), layers=(layer("dense", units=3), layer("tanh"), layer("dense", units=2)))


def measure(backward_pass: BackwardPass) -> Evidence:
    count = float(backward_pass.parameter_gradient_nonfinite.clip(min=0).sum())
    return Evidence(quantity="non-finite gradient entries", value=count, error=0.0, low=0.0, high=0.0)


PROPERTY = Property(
    measure=measure,
    level=Level.REQUIREMENT,
    symptoms=("words people search for",),
    holds_for=(_NETWORK,),
    fails_for=(_NETWORK.changed(defects=(Defect(kind="nan-gradient", module="0"),)),),
)
'''


def listing(words: Sequence[str], folders: Sequence[Path] = ()) -> str:
    """The catalogue, one line a property: ``family/id``, level, statement; words choose ids, families and parts of symptoms."""
    entries = catalogue.choose(catalogue.entries(folders), words, partly=True)
    width, wide = (max(map(len, column)) for column in zip(*((entry.name, entry.level) for entry in entries), strict=True))
    return "\n".join(f"{entry.name:<{width}}  {entry.level:<{wide}}  {entry.statement}" for entry in entries)


def explanation(word: str, folders: Sequence[Path] = ()) -> str:
    """Everything the catalogue says of one property, or of all that a family or symptom names."""
    entries = catalogue.choose(catalogue.entries(folders), [word])
    return "\n\n".join(_explained(entry) for entry in entries)


def _explained(entry: catalogue.Entry) -> str:
    symptoms = f"Symptoms: {', '.join(entry.symptoms)}\n" if entry.symptoms else ""
    sections = "\n\n".join(f"{title}\n{'-' * len(title)}\n{text}" for title, text in entry.sections.items())
    return f"{entry.name} ({entry.level})\n{'=' * len(entry.name)}\n{entry.statement}\n{symptoms}File: {entry.path}\n\n{sections}"


def new(name: str, folder: Path) -> Path:
    """Write the skeleton of a property, ``family/name``, that runs and passes its contract as it stands.

    Raises:
        UsageError: the name has another form, or the file exists.
    """
    match = re.fullmatch(r"([a-z][a-z0-9_]*)/([a-z][a-z0-9_-]*)", name)
    if match is None:
        raise UsageError(f"{name!r} is not the name of a property", allowed="family/name, in lower case",
                         instead="Write for example: gradcheck new numerics/bounded_logits")
    path = folder / match[1] / f"{match[2].replace('-', '_')}.py"
    if path.exists():
        raise UsageError(f"{path} exists", instead="Choose another name, or edit that file.")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SKELETON.format(words=match[2].replace("_", " ").replace("-", " ").capitalize() + ":"), encoding="utf-8")
    return path


def doctor(isolation: bool = True) -> tuple[str, bool]:
    """What this machine gives, line by line, and whether audits can run here."""
    from gradcheck_suite.engine.run import versions

    rows = list(versions().items())
    threads = os.environ.get("OMP_NUM_THREADS", "unset (one thread is used in children)")
    rows += [("cores", str(os.cpu_count())), ("OMP_NUM_THREADS", threads)]
    fine = True
    try:
        import torch
    except ImportError as error:
        rows.append(("torch", f"cannot be imported: {error}"))
        fine = False
    else:
        rows.append(("devices", "cpu" + (f", {torch.cuda.device_count()} cuda" if torch.cuda.is_available() else "")))
    if fine and isolation:
        trial = isolation_trial()
        rows += trial
        fine = not trial[0][1].startswith("does not work")
    rows.append(("chromium", shutil.which("chromium") or "not found (only the tests of the page need it)"))
    rows.append(("catalogue", f"{len(catalogue.entries())} properties in {catalogue.builtin_folder()}"))
    rows.append(("executable", f"{sys.executable} ({platform.python_implementation()})"))
    return "\n".join(f"{name:<16}{value}" for name, value in rows), fine


def isolation_trial() -> list[tuple[str, str]]:
    """Whether child processes work here, tried on a tiny model, with what one costs and may use."""
    from gradcheck_suite.core.budget import BUDGETS
    from gradcheck_suite.core.errors import GradcheckError
    from gradcheck_suite.engine.sources import ChildSource, Limits
    from gradcheck_suite.targets import Options, parse

    limits, seconds = Limits(), []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tiny_model.py")
        path.write_text(_TINY, encoding="utf-8")
        for _ in range(3):
            began = time.monotonic()
            source = ChildSource(parse(f"{path}:build"), Options(), BUDGETS["quick"], 0, limits)
            try:
                source.capture("structure")
            except GradcheckError as error:
                return [("isolation", f"does not work here: {error}; use --isolation none")]
            finally:
                source.close()
            seconds.append(time.monotonic() - began)
    cost = f"first child {seconds[0]:.2f} s (starts the fork server), further ones {min(seconds[1:]) * 1000:.0f} ms"
    bounds = (f"{limits.memory >> 20} MiB memory, {BUDGETS['standard'].seconds:.0f} s an experiment, {limits.threads} threads, "
              f"{limits.processes} processes, {limits.log >> 20} MiB of output")
    return [("isolation", f"works: {cost}"), ("limits", bounds)]
