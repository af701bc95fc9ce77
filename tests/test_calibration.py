"""The calibration benchmark counts what it says, and its page has a row for every trial."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.calibrate import NOMINAL, Count, Row, key, main, measure, page, read
from benchmarks.trials import TRIALS, two_halves
from gradcheck_suite import catalogue
from gradcheck_suite.architectures.subjects import subject
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.engine.sources import LocalSource

ROOT = Path(__file__).parent.parent


def test_intervals_are_those_of_clopper_and_pearson():
    assert Count(0, 3000).interval() == (0.0, pytest.approx(1 - 0.025 ** (1 / 3000)))
    assert Count(5, 5).interval() == (pytest.approx(0.025**0.2), 1.0)
    assert Count(10, 1000).interval() == pytest.approx((0.0048, 0.0183), abs=1e-4)


def test_two_halves_pass_together_at_the_nominal_rate():
    assert two_halves(0.01) == pytest.approx(1.6449, abs=1e-4)
    assert two_halves(1e-6) == pytest.approx(3.2905, abs=1e-4)


def test_every_trial_names_a_property_and_is_told_apart():
    known = {entry.id for entry in catalogue.entries()}
    assert {trial.property for trial in TRIALS} <= known
    assert len({key(trial) for trial in TRIALS}) == len(TRIALS)
    stochastic = {entry.id for entry in catalogue.entries() if catalogue.load(entry).stochastic}
    assert {trial.property for trial in TRIALS if not trial.margin} == stochastic


def test_a_trial_counts_false_alarms_and_power():
    row = Row()
    states = list(measure(TRIALS[0], row, cases=3, controls=2))
    assert len(states) == 2
    assert (row.cases, row.controls, row.found, row.undecided) == (3, 2, 2, 0)
    assert row.false_alarms(NOMINAL[0]).of == 3
    assert page([(TRIALS[0], row)]).count("\n| `gradient-scale-across-depth` |") == 1


def test_draws_dealt_out_are_the_draws():
    source = LocalSource(subject(TRIALS[0].true), BUDGETS["quick"], 5)
    whole = source.capture("gradient_norm_draws")
    parts = list(whole.parts(3))
    assert [part.draws for part in parts] == [3, 3]
    for name in ("ratio", "layer_gradient", "weight_square", "bias_square", "input_norm"):
        np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(whole, name)[:6])
    np.testing.assert_array_equal(parts[1].weight_entries, whole.weight_entries)


def test_an_interrupted_run_goes_on(tmp_path):
    page_file, results = tmp_path / "page.md", tmp_path / "results.json"
    arguments = ["--only", "weight-consistency", "--output", str(page_file), "--results", str(results)]
    main(["--cases", "6", "--controls", "3", *arguments])
    main(["--cases", "9", "--controls", "6", *arguments])
    text = page_file.read_text()
    assert text.startswith("# Calibration")
    assert "0/9 (" in text
    rows = {trial.property: row for trial, row in read(results)}
    assert (rows["weight-consistency"].cases, rows["weight-consistency"].controls) == (9, 6)


def test_the_committed_page_is_that_of_the_committed_results():
    rows = read(ROOT / "benchmarks" / "results" / "calibration.json")
    assert (ROOT / "docs" / "calibration.md").read_text(encoding="utf-8") == page(rows)
    beyond = [trial.property for trial, row in rows if row.cases and row.false_alarms(NOMINAL[-1]).interval()[0] > 2 * NOMINAL[-1]]
    assert not beyond, f"false alarms above twice the nominal rate: {beyond}"
