"""Functions that are coarse, not finite, flat, or random."""

import os

import numpy as np
import pytest

from gradcheck_suite.core.evidence import Level, Verdict
from gradcheck_suite.handwritten import check_gradient
from tests.handwritten.reading import of, only, violations

GENERATOR = np.random.default_rng(7)
X = GENERATOR.normal(size=(9, 4))


@pytest.mark.parametrize("f", [
    lambda x: (np.float32(x) ** 2 * np.float32(0.1)).sum(),
    lambda x: float((np.float32(x) ** 2 * np.float32(0.1)).sum()),
    lambda x: 0.1 * (x.astype(np.float32) ** 2).sum(dtype=np.float64),
], ids=["shown", "hidden", "inside"])
def test_single_precision_is_never_called_wrong_and_large_errors_in_it_are_found(f):
    x = GENERATOR.normal(size=20)
    for seed in range(5):
        verdicts = {finding.verdict for finding in of(check_gradient(f, lambda x: 0.2 * x, x, seed=seed))}
        assert verdicts <= {Verdict.HOLDS, Verdict.INCONCLUSIVE}
    assert set(violations(check_gradient(f, lambda x: 0.3 * x, x))) == {"x"}


def rough(x):
    """A smooth function with noise of 1e-3 of its value, the same at the same point."""
    return (x**2).sum() * (1 + 1e-3 * np.random.default_rng(list(x.tobytes())).normal())


def test_what_noise_hides_is_inconclusive_and_not_ok():
    report = check_gradient(rough, lambda x: 2.001 * x, X)
    assert only(report).verdict is Verdict.INCONCLUSIVE
    assert not report.ok
    assert report.exit_code() == 4
    assert set(violations(check_gradient(rough, lambda x: 60 * x, X))) == {"x"}


def test_a_function_that_is_not_finite_is_inconclusive():
    with np.errstate(invalid="ignore", divide="ignore"):
        report = check_gradient(lambda x: np.log(x).sum(), lambda x: 1 / x, np.array([-1.0, 1.0]))
    assert only(report).verdict is Verdict.INCONCLUSIVE
    assert "not finite" in only(report).evidence.note


def test_a_derivative_that_is_zero_by_algebra_holds():
    report = check_gradient(lambda x: (x - x.mean()).sum() + 3.0, lambda x: np.full(x.shape, 1e-18), X)
    assert only(report).verdict is Verdict.HOLDS
    assert "none is claimed" in only(report).evidence.note
    assert set(violations(check_gradient(lambda x: 3.0, lambda x: np.full(x.shape, 1e-3), X))) == {"x"}


def test_a_function_that_draws_random_numbers_is_replayed_and_named():
    def noisy(x):
        return (x * np.random.uniform(0.5, 1.5, x.shape)).sum()

    def its_gradient(x):
        return np.random.uniform(0.5, 1.5, x.shape)

    before = np.random.get_state()[2]
    report = check_gradient(noisy, its_gradient, X)
    assert only(report).verdict is Verdict.HOLDS
    found = of(report, "handwritten-repeatability")[0]
    assert (found.verdict, found.level) == (Verdict.VIOLATED, Level.INDICATOR)
    assert np.random.get_state()[2] == before


def test_chance_that_cannot_be_replayed_is_a_violated_requirement():
    report = check_gradient(lambda x: x.sum() + int.from_bytes(os.urandom(2), "big"), np.ones_like, X)
    found = of(report, "handwritten-repeatability")[0]
    assert (found.verdict, found.level) == (Verdict.VIOLATED, Level.REQUIREMENT)
    assert not violations(report)


def test_a_value_that_is_zero_first_and_then_not_differs_from_itself():
    held = np.random.default_rng(next(seed for seed in range(9) if np.random.default_rng(seed).integers(2, size=2).tolist() == [0, 1]))
    found = of(check_gradient(lambda x: x.sum() * held.integers(2), np.zeros_like, X), "handwritten-repeatability")[0]
    assert (found.verdict, found.level) == (Verdict.VIOLATED, Level.INDICATOR)
    assert found.evidence.value == 1.0
