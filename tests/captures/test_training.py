"""The arithmetic of the training capture: gains, outlooks, comparisons."""

import math
from dataclasses import replace

import numpy as np
import pytest

from gradcheck_suite.captures.codec import frozen
from gradcheck_suite.captures.training import Attempt, Training


def attempt(losses, constant=1.0, **facts) -> Attempt:
    return Attempt(**{"change": "", "losses": frozen(losses), "constant": constant, "constant_error": 0.0, **facts})


def training(*losses, intended=0, trials=()) -> Training:
    attempts = tuple(attempt(row) for row in losses)
    return Training(attempts=attempts, trials=tuple(trials), steps=len(losses[0]) - 1, intended=intended, samples=8, reach=None, direct=0.0,
                    standardised_start=math.nan, unbounded=False, breakdown=None, activity=(), optimizer="SGD", learning_rate=0.1)


FLAT = [1.0] * 100
GOOD = list(np.geomspace(2.0, 0.01, 100))


def test_gain_is_the_share_of_the_constants_loss_that_is_explained():
    assert attempt([2.0] * 90 + [0.25] * 10).gain == pytest.approx(0.75)
    assert attempt([-4.0] * 100, constant=-2.0).gain == pytest.approx(1.0)
    assert math.isnan(attempt(FLAT, constant=0.0).gain)
    assert attempt([1.0, math.nan]).gain == -math.inf
    assert attempt(FLAT, error="it raised").gain == -math.inf


def test_the_mean_of_the_attempts_decides():
    lucky, worse = [0.6] * 100, [9.0] * 100
    assert training(GOOD, GOOD, GOOD).gain > 0.9
    assert training(FLAT, FLAT, FLAT).failing
    assert training(lucky, lucky, worse).gain == pytest.approx((0.4 + 0.4 - 1.0) / 3)
    assert training(lucky, lucky, worse).failing
    assert not training(GOOD).failing
    assert training(worse).gain == pytest.approx(-8.0)
    assert training([1.0, math.inf]).failing


def test_the_mean_gain_has_a_t_interval():
    gains = np.array([0.1, 0.2, 0.4])
    seen = training(*([1.0 - gain] * 100 for gain in gains))
    assert seen.half_width == pytest.approx(4.303 * gains.std(ddof=1) / math.sqrt(3), rel=1e-4)
    assert training(FLAT).half_width == math.inf


def test_a_loss_that_falls_evenly_goes_on_along_its_tangent():
    even = list(1.5 - 0.004 * np.arange(101))
    seen = training(even, intended=300)
    assert seen.gain < 0
    assert seen.outlook == pytest.approx(1 - (1.5 - 0.004 * 295.5), abs=0.02)
    assert not seen.failing


def test_a_loss_that_comes_to_rest_stays_there():
    resting = list(1.0 + 0.3 * np.exp(-np.arange(101) / 20))
    seen = training(resting, intended=1000)
    assert seen.outlook == pytest.approx(0.0, abs=0.01)
    assert seen.failing


def test_a_loss_that_rises_has_no_further_fall():
    rising = list(1.0 + 0.01 * np.arange(101))
    assert training(rising, intended=500).outlook == pytest.approx(training(rising).gain)


def test_a_short_probe_is_continued_to_a_hundred_steps_where_the_owner_says_nothing():
    even = list(1.1 - 0.004 * np.arange(21))
    assert training(even).outlook > 0.2
    assert math.isnan(training(list(1.1 - 0.004 * np.arange(101))).outlook)


def test_a_trial_is_compared_with_the_set_up_itself():
    good, bad = attempt(GOOD, change="learning rate", factor=0.1), attempt([1.0, math.nan], change="learning rate", factor=10.0)
    seen = training(FLAT, trials=(good, bad))
    assert seen.advantage(good) > 0.9
    assert seen.advantage(bad) == -1.0
    assert training([1.0, math.nan], trials=(good,)).advantage(good) > 1.5
    assert seen.trial("learning rate") == (good, bad)
    assert seen.trial("no dropout") == ()


def test_little_that_is_learnt_counts_where_nothing_is_learnt_from_nothing():
    little, other = [1.0] * 50 + [0.97] * 50, [1.0] * 50 + [0.971] * 50
    better = ((0.03, 0.0), (0.029, 0.001), (0.031, 0.0), (0.03, -0.1), (0.03, 0.0))
    seen = training(little, other)
    assert replace(seen, twins=better).above_floor()
    assert not replace(seen, twins=better[:4]).above_floor()
    assert not replace(seen, twins=(*better[:4], (0.03, 0.03))).above_floor()
    assert not replace(seen, twins=(*better[:4], (0.002, 0.0))).above_floor()
    assert not replace(seen, twins=better, trials=(attempt(GOOD, change="learning rate", factor=10.0),)).above_floor()


def test_curves_leave_out_what_is_not_finite():
    curve = training([1.0, 2.0, math.nan]).curve()
    assert curve.series[0].x == (0.0, 1.0)
    assert curve.series[0].y == (1.0, 2.0)
    assert curve.log_y


@pytest.mark.parametrize(("dealt", "unpaired"), [
    ((0.001, 0.002, 0.003, 0.002, 0.001), False), ((0.029, 0.031, 0.027, 0.033, 0.03), True), ((0.05,) * 5, True), ((0.03, 0.03), False),
])
def test_little_is_learnt_only_where_dealt_targets_are_explained_less(dealt, unpaired):
    twins = tuple((0.03 + 0.0001 * index, 0.0) for index in range(5))
    seen = replace(training(FLAT), twins=twins, dealt=dealt)
    assert seen.unpaired() == unpaired
    assert seen.above_floor() == (not unpaired)
