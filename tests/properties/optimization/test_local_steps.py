"""What the two statements on single steps say of captures whose answer is known."""

import numpy as np
import pytest

from gradcheck_suite import catalogue
from gradcheck_suite.captures.codec import frozen
from gradcheck_suite.captures.displaced_descent import DisplacedDescent
from gradcheck_suite.captures.gradient_line import GradientLine
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.evidence import Level, Verdict

STEP, GROWTH = (next(catalogue.load(entry) for entry in catalogue.entries() if entry.id == name)
                for name in ("step-length", "displacement-growth"))


def line(factor=1.0, third=0.0, smooth_below=np.inf, rates=20, slopes=None):
    """A loss whose second order is ``factor`` times what the Hessian says, with a cubic term; squared gradient 2, curvature 4."""
    multiples = 2.0 * 0.5 ** np.arange(rates)
    t = multiples * (2 * 2 / 4)
    changes = -2 * t + factor * 2 * t**2 + third * t**3
    return GradientLine(squared=2.0, curvature=4.0, loss=1.0, position=1.0, multiples=frozen(multiples), changes=frozen(changes),
                        smooth=frozen(multiples < smooth_below, "|b1"), slopes=factor if slopes is None else slopes, slopes_error=1e-6)


def test_on_a_parabola_the_loss_rises_at_twice_the_threshold_and_falls_at_half():
    first, twice, half = STEP.measure(line())
    assert [piece.verdict for piece in (first, twice, half)] == [Verdict.HOLDS] * 3
    assert twice.quantity.endswith("at 2 times the threshold")
    assert "it rises by 4" in twice.note
    assert "it falls by 0.5" in half.note


def test_a_third_order_that_prevails_leaves_the_edges_undecided():
    (piece,) = STEP.measure(line(third=5.0))
    assert piece.verdict is Verdict.HOLDS
    assert piece.error < 0.05


@pytest.mark.parametrize("factor", [0.0, 0.9, 1.1, 3.0])
def test_a_second_order_that_is_not_the_hessians_violates(factor):
    piece, *edges = STEP.measure(line(factor))
    assert piece.verdict is Verdict.VIOLATED
    assert piece.value == pytest.approx(factor - 1, abs=1e-3)
    assert "second derivative" in piece.note
    assert {edge.verdict for edge in edges} <= {Verdict.VIOLATED}


@pytest.mark.parametrize("slopes", [1.0, 2.0, np.nan])
def test_gradients_that_do_not_agree_with_the_loss_are_not_the_hessians_fault(slopes):
    with pytest.raises(NotApplicable, match="not the slope"):
        list(STEP.measure(line(3.0, slopes=slopes)))
    assert next(STEP.measure(line(1.0, slopes=slopes))).verdict is Verdict.HOLDS


def test_only_rates_on_the_smooth_piece_are_judged_and_none_at_all_is_a_fact():
    (piece,) = STEP.measure(line(smooth_below=0.1))
    assert piece.verdict is Verdict.HOLDS
    with pytest.raises(NotApplicable, match="closely"):
        list(STEP.measure(line(smooth_below=0.0)))
    with pytest.raises(NotApplicable, match="closely"):
        list(STEP.measure(line(rates=2)))


def runs(true=4.0, said=4.0, bend=0.0, noise=0.0, residual=0.0, dispute=0.0):
    """Two runs whose distances follow one curvature, and a Hessian that says another."""
    rates = np.array([0.95, 1.05]) * 2 / said
    ones = np.ones((2, 3))
    growth, predicted = (np.abs(1 - rates * value)[:, None] * ones for value in (true, said))
    return DisplacedDescent(sharpness=said, residual=residual, products=10, separation=1e-6, rates=frozen(rates), growth=frozen(growth),
                            nearer=frozen(growth + noise), predicted=frozen(predicted), share=frozen((rates * said)[:, None] * ones),
                            bend=frozen(bend * ones), rounding=frozen(1e-12 * ones), dispute=frozen(dispute * ones))


def test_the_factor_is_told_for_both_rates():
    below, above = GROWTH.measure(runs())
    assert (below.verdict, above.verdict) == (Verdict.HOLDS, Verdict.HOLDS)
    assert "|1 - lr·λ| = 0.9;" in below.note
    assert "|1 - lr·λ| = 1.1;" in above.note
    assert below.quantity.endswith("at 0.95 of 2/λ")
    assert above.exhibits[0].rows == tuple((step, pytest.approx(1.1), pytest.approx(1.1)) for step in (1, 2, 3))


def test_another_curvature_violates_as_an_indicator_beyond_its_error():
    assert GROWTH.level is Level.INDICATOR
    assert STEP.level is Level.INDICATOR
    for piece in GROWTH.measure(runs(true=4.4)):
        assert piece.verdict is Verdict.VIOLATED
        assert piece.value == pytest.approx(0.1)
    assert {piece.verdict for piece in GROWTH.measure(runs(true=4.04, residual=0.1))} == {Verdict.VIOLATED}


@pytest.mark.parametrize("terms", [{"bend": 0.2}, {"noise": 0.1}, {"dispute": 1.0}, {"dispute": 0.5}, {"dispute": np.nan}])
def test_steps_that_are_measured_too_coarsely_are_a_fact(terms):
    with pytest.raises(NotApplicable, match="closely"):
        list(GROWTH.measure(runs(true=4.4, **terms)))


def test_the_error_adds_its_parts_relative_to_the_curvature():
    seen = runs(bend=0.19, noise=0.019, residual=0.4)
    share = seen.share[0, 0]
    assert share == pytest.approx(1.9)
    assert seen.error[0, 1] == pytest.approx((0.19 + 0.038) / 1.9, rel=1e-9)
    assert seen.error[0, 0] - seen.error[0, 1] == pytest.approx(0.4 / 4.0)
