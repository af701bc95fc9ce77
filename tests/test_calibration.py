"""The calibration benchmark counts what it says, and its page has a row for every trial."""

import pytest

from benchmarks.calibrate import TRIALS, Count, calibrate, main, page
from gradcheck_suite import catalogue


def test_intervals_are_those_of_clopper_and_pearson():
    assert Count(0, 3000).interval() == (0.0, pytest.approx(1 - 0.025 ** (1 / 3000)))
    assert Count(5, 5).interval() == (pytest.approx(0.025**0.2), 1.0)
    assert Count(10, 1000).interval() == pytest.approx((0.0048, 0.0183), abs=1e-4)


def test_every_trial_names_a_property():
    known = {entry.id for entry in catalogue.entries()}
    assert {trial.property for trial in TRIALS} <= known


def test_a_trial_counts_false_alarms_and_power():
    row = calibrate(TRIALS[0], cases=3, controls=2)
    assert (row.false_alarms.of, row.power.of) == (3, 2)
    assert row.power.hits == 2
    assert row.undecided == 0
    assert page([row]).count("\n| gradient-scale-across-depth |") == 1


def test_the_page_is_written(tmp_path):
    main(["--cases", "1", "--controls", "1", "--only", "declared-weight-variance", "--output", str(tmp_path / "page.md")])
    text = (tmp_path / "page.md").read_text()
    assert text.startswith("# Calibration")
    assert text.count("declared-weight-variance") == 2
