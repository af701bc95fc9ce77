"""The pattern of an error, told from directional derivatives."""

import math

import numpy as np
import pytest

from gradcheck_suite.numerics.mismatch import Suspect
from gradcheck_suite.numerics.patterns import pattern, times

GENERATOR = np.random.default_rng(11)
G = GENERATOR.normal(size=(5, 5))
X = GENERATOR.normal(size=(5, 5))


def found(analytic, gradient=G, error=1e-11, **details):
    def along(direction):
        return float((gradient * direction).sum()), error

    return pattern(Suspect(analytic=analytic, along=along, seed=1), **details)


def changed(place, value):
    array = G.copy()
    array[place] = value
    return array


FACTORS = {"twice": 2.0, "minus": -1.0, "32 times": 32.0, "1/32": 1 / 32, "half": 0.5, "1.001 times": 1.001, "-0.3 times": -0.3}


@pytest.mark.parametrize(("words", "factor"), FACTORS.items())
def test_a_constant_factor(words, factor):
    told = found(G * factor)
    assert told.kind == "factor"
    assert told.factor == pytest.approx(factor)
    assert words in told.text


@pytest.mark.parametrize(("analytic", "kind", "words"), [
    (np.zeros((5, 5)), "zero", "zero everywhere"),
    (G.T, "transposed", "transposed"),
    (2 * G.T, "transposed", "transposed, times 2"),
    (G[::-1], "reversed", "axis 0"),
    (G[:, ::-1], "reversed", "axis 1"),
    (G[::-1, ::-1], "reversed", "axis 0 and 1"),
    (np.broadcast_to(G.mean(axis=0), G.shape), "averaged", "axis 0: 0.2 times"),
    (G + 0.125, "offset", "plus 0.125"),
    (G - 0.5 * X, "decay", "plus -0.5 times the parameter"),
    (G * X, "irregular", "without a simple pattern"),
    (changed((2, 3), np.nan), "nonfinite", "1 of 25"),
    (changed((2, 3), 9.0), "entry", "this entry only"),
    (changed(2, 0.0), "slice", "row 2 only, where it is zero"),
    (changed((slice(None), 3), -G[:, 3]), "slice", "column 3 only; there it is minus the derivative"),
    (changed(2, X[2]), "slice", "row 2 only"),
])
def test_patterns_of_a_matrix(analytic, kind, words):
    told = found(analytic, point=X, worst=(2, 3))
    assert told.kind == kind
    assert words in told.text


@pytest.mark.parametrize(("analytic", "kind"), [
    (np.swapaxes(G.reshape(5, 1, 5), 0, 2), "transposed"), (np.flip(G.reshape(5, 1, 5)), "reversed")])
def test_patterns_in_three_axes(analytic, kind):
    assert found(analytic, G.reshape(5, 1, 5)).kind == kind


def test_a_gradient_where_there_is_none():
    assert found(G, np.zeros((5, 5))).kind == "spurious"


def test_a_scalar_has_a_factor_and_nothing_else():
    assert found(np.array(3.0), np.array(1.5), worst=()).factor == pytest.approx(2.0)


def test_a_deviation_within_the_error_has_no_pattern():
    assert found(2 * G, error=1e3).kind == "none"
    assert found(2 * G, error=math.inf).kind == "none"
    assert found(G).kind == "none"


@pytest.mark.parametrize("seed", range(20))
def test_unrelated_arrays_have_no_pattern(seed):
    generator = np.random.default_rng(seed)
    told = found(generator.normal(size=(5, 5)), generator.normal(size=(5, 5)), point=X, worst=(0, 0))
    assert told.kind == "irregular"


def test_the_words_of_a_factor_end_with_what_it_usually_means():
    assert "mean over 8 samples" in times(8.0)
    assert "once too often" in times(1 / 8)
    assert times(1.5) == "1.5 times the derivative"
