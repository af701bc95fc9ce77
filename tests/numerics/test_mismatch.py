"""The worst entry, found by bisection from directional derivatives."""

import math

import numpy as np
import pytest

from gradcheck_suite.numerics.mismatch import ENUMERATED, Suspect, entries, fsum, worst_entry


def suspect(analytic, gradient, *, scale=1.0, error=1e-12, counted=None):
    def along(direction):
        if counted is not None:
            counted.append(direction)
        return float((gradient * direction).sum()), error

    return Suspect(analytic=analytic, along=along, scale=scale, seed=3)


@pytest.mark.parametrize("shape", [(1,), (7,), (5, 6), (40, 30), (3, 4, 5)])
@pytest.mark.parametrize("seed", range(3))
def test_one_wrong_entry_is_found_in_few_derivatives(shape, seed):
    generator = np.random.default_rng(seed)
    gradient = generator.normal(size=shape)
    place = tuple(int(generator.integers(size)) for size in shape)
    analytic = gradient.copy()
    analytic[place] += 0.25
    counted = []
    found = worst_entry(suspect(analytic, gradient, counted=counted))
    assert found.index == place
    assert found.numeric == pytest.approx(gradient[place])
    assert found.analytic == analytic[place]
    assert found.gap == pytest.approx(0.25)
    assert len(counted) <= 2 * math.ceil(math.log2(max(2, gradient.size))) + ENUMERATED


def test_the_scale_sets_the_steps_and_not_the_answer():
    gradient, scale = np.array([1.0, 2.0, 3.0]), np.array([1.0, 1e-6, 1e6])
    analytic = gradient + np.array([0.0, 0.5, 0.0])
    used = []
    found = worst_entry(suspect(analytic, gradient, scale=scale, counted=used))
    assert (found.index, found.numeric) == ((1,), pytest.approx(2.0))
    assert sorted(float(np.abs(direction).max()) for direction in used) == [1e-6, 1.0, 1e6]


def test_an_entry_that_cannot_be_measured_is_not_the_worst():
    gradient = np.array([1.0, 1.0])

    def along(direction):
        return (math.nan, math.inf) if direction[0] else (float(gradient @ direction), 1e-12)

    found = worst_entry(Suspect(analytic=np.array([9.0, 1.5]), along=along))
    assert found.index == (1,)
    unmeasured = entries(Suspect(analytic=np.array([9.0, 1.5]), along=along), np.array([0]))[0]
    assert unmeasured.gap == 0.0


def test_an_entry_whose_distance_is_within_its_error_is_not_the_worst():
    gradient = np.zeros(40)

    def along(direction):
        return float(0.5 * direction[3]), abs(direction[3]) + 1e-12

    analytic = gradient.copy()
    analytic[30] = 1e-3
    assert worst_entry(Suspect(analytic=analytic, along=along)).index == (30,)


def test_sums_round_once_and_tell_what_is_not_finite():
    assert fsum(np.array([1e16, 1.0, -1e16])) == 1.0
    assert math.isnan(fsum(np.array([1.0, np.inf])))
