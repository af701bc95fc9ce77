"""Functions and their gradients: right ones hold, wrong ones are found, named and explained."""

import os
from collections import namedtuple

import numpy as np
import pytest

from gradcheck_suite.core.evidence import Level, Verdict
from gradcheck_suite.handwritten import check_gradient
from tests.handwritten.reading import only, violations

GENERATOR = np.random.default_rng(5)
X = GENERATOR.normal(size=(9, 4))
Y = GENERATOR.normal(size=(9, 3))
PARAMETERS = {"W1": GENERATOR.normal(size=(4, 4)), "b1": np.zeros(4), "W2": GENERATOR.normal(size=(4, 3)), "b2": np.zeros(3)}


def loss(p):
    return ((np.maximum(X @ p["W1"] + p["b1"], 0) @ p["W2"] + p["b2"] - Y) ** 2).mean()


def gradient(p):
    before = X @ p["W1"] + p["b1"]
    after = np.maximum(before, 0)
    error = 2 * (after @ p["W2"] + p["b2"] - Y) / Y.size
    hidden = error @ p["W2"].T * (before > 0)
    return {"W1": X.T @ hidden, "b1": hidden.sum(axis=0), "W2": after.T @ error, "b2": error.sum(axis=0)}


def broken(name, change):
    def wrong(p):
        return {**gradient(p), name: change(gradient(p)[name])}

    return wrong


@pytest.mark.parametrize("budget", ["quick", "standard", "thorough"])
def test_a_right_gradient_holds_in_every_place(budget):
    report = check_gradient(loss, gradient, PARAMETERS, budget=budget)
    assert report.ok
    assert only(report).verdict is Verdict.HOLDS
    assert only(report).places == (1 if budget == "quick" else 4)
    assert {finding.verdict for finding in report.findings} == {Verdict.HOLDS}


@pytest.mark.parametrize(("change", "words"), [
    (lambda g: 1.001 * g, "1.001 times the derivative"),
    (lambda g: -g, "sign is flipped"),
    (lambda g: 9 * g, "mean over 9 samples"),
    (np.zeros_like, "zero everywhere"),
    (lambda g: g.T, "transposed"),
    (lambda g: g + 0.5 * PARAMETERS["W1"], "plus 0.5 times the parameter"),
    (lambda g: g * (np.arange(4) != 2)[:, None], "row 2 only, where it is zero"),
    (lambda g: g + 0.01 * (np.arange(16) == 6).reshape(4, 4), "this entry only"),
    (lambda g: np.where(np.arange(16).reshape(4, 4) == 6, np.nan, g), "not finite in 1 of 16"),
])
@pytest.mark.parametrize("budget", ["quick", "standard"])
def test_a_wrong_gradient_is_named_with_its_pattern(change, words, budget):
    report = check_gradient(loss, broken("W1", change), PARAMETERS, budget=budget)
    found = violations(report)
    assert set(found) == {"W1"}
    assert words in found["W1"].evidence.note
    assert not report.ok


def test_the_worst_entry_comes_with_both_values():
    def wrong(p):
        g = gradient(p)
        g["W2"][3, 1] += 0.125
        return g

    found = violations(check_gradient(loss, wrong, PARAMETERS))["W2"]
    right = gradient(PARAMETERS)["W2"][3, 1]
    assert found.where.entry == (3, 1)
    assert found.where.function.endswith("wrong")
    assert found.where.source.startswith(("tests", os.sep))
    entry = found.evidence.exhibits[0].rows[0]
    assert entry[0] == "3, 1"
    assert entry[1:3] == pytest.approx((right + 0.125, right))
    assert 0 <= entry[3] < 1e-6
    assert set(found.evidence.ruled_out) == {"a kink", "nondeterminism", "rounding"}


def test_a_tiny_gradient_is_checked_as_sharply_as_a_large_one():
    def tiny(p):
        return 1e-9 * loss(p)

    assert check_gradient(tiny, lambda p: {k: 1e-9 * g for k, g in gradient(p).items()}, PARAMETERS).ok
    report = check_gradient(tiny, lambda p: {k: 1e-9 * g for k, g in broken("b2", lambda g: 1.01 * g)(p).items()}, PARAMETERS)
    assert set(violations(report)) == {"b2"}


Pair = namedtuple("Pair", "left right")


@pytest.mark.parametrize("x", [
    np.array(1.5), 1.5, np.float64(1.5), np.array([[1.0, 2.0]]), (np.ones(2), [np.ones(3)]),
    {"a": [np.ones(2), 0.5], "b": {"c": np.ones((1, 2))}}, Pair(np.ones(2), 2.0), np.ones(3, dtype=np.float32),
], ids=lambda x: type(x).__name__)
def test_the_structure_of_x_is_kept(x):
    seen = []

    def f(value):
        seen.append(type(value))
        return sum(float((np.asarray(leaf) ** 2).sum()) for leaf in flat(value))

    assert check_gradient(f, mapped, x).ok
    assert set(seen) == {type(x)}


def flat(value):
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in flat(item)]
    return [leaf for item in value for leaf in flat(item)] if isinstance(value, tuple | list) else [value]


def mapped(value):
    if isinstance(value, dict):
        return {key: mapped(item) for key, item in value.items()}
    return [mapped(item) for item in value] if isinstance(value, tuple | list) else 2 * value


def test_places_in_nested_arguments_have_readable_names():
    x = {"layers": [{"W": np.ones(2)}, {"W": np.ones(3)}]}
    report = check_gradient(lambda v: sum((leaf**2).sum() for leaf in flat(v)),
                            lambda v: {"layers": [{"W": 2 * v["layers"][0]["W"]}, {"W": 3 * v["layers"][1]["W"]}]}, x)
    assert set(violations(report)) == {"layers[1].W"}


def test_an_array_valued_function_is_checked_through_its_vjp():
    assert check_gradient(np.tanh, lambda x, u: u * (1 - np.tanh(x) ** 2), X).ok
    matrix = GENERATOR.normal(size=(5, 4))
    assert check_gradient(lambda x: x @ matrix.T, lambda x, u: u @ matrix, X).ok
    report = check_gradient(lambda x: x[..., :4] @ matrix[:4], lambda x, u: u @ matrix[:4], X)
    assert set(violations(report)) == {"x"}
    assert check_gradient(lambda x: (x**2).sum(keepdims=True), lambda x: 2 * x, X).ok
    assert check_gradient(lambda x: (x**2).sum(keepdims=True), lambda x, u: u * 2 * x, X).ok


@pytest.mark.parametrize(("f", "grad_f"), [
    (lambda x: np.maximum(x, 0).sum(), lambda x: (x >= 0) * 1.0),
    (lambda x: np.maximum(x, 0).sum(), lambda x: (x > 0) * 1.0),
    (lambda x: np.abs(x).sum(), np.sign),
    (lambda x: np.maximum(x, x.mean()).sum(), lambda x: (x > x.mean()) + (x <= x.mean()).mean()),
    (lambda x: x.max(), lambda x: (np.arange(x.size) == np.argmax(x)) * 1.0),
    (lambda x: np.round(x).sum(), np.zeros_like),
])
def test_a_kink_or_a_jump_is_never_a_violated_requirement(f, grad_f):
    for x in (np.array([0.0, 1.0, -2.0, 0.0]), np.zeros(3), np.array([1e-9, -1e-7, 1.0, 1.0]), np.array([0.5, 1.5, 2.5])):
        assert not violations(check_gradient(f, grad_f, x))


def test_a_wrong_gradient_at_a_kink_is_still_found():
    report = check_gradient(lambda x: np.maximum(x, 0).sum(), lambda x: (x >= 0) * 1.5, np.array([0.0, 1.0, -1.0]))
    assert set(violations(report)) == {"x"}
    assert "beside x" in violations(report)["x"].evidence.note


def test_a_disagreement_at_one_point_only_is_an_indicator():
    report = check_gradient(lambda x: (np.maximum(x, 0) - np.maximum(-x, 0)).sum(), lambda x: (x != 0) * 1.0, np.array([0.0, 1.0]))
    assert not violations(report)
    found = violations(report, Level.INDICATOR)["x"]
    assert "at points beside x it agrees" in found.evidence.note
    assert found.where.entry == (0,)


def test_a_domain_of_one_sign_and_wide_range_is_respected():
    x = np.array([1e-4, 1e5, 1.0])
    assert check_gradient(lambda v: np.log(v).sum(), lambda v: 1 / v, x).ok
    assert set(violations(check_gradient(lambda v: np.log(v).sum(), lambda v: 1.01 / v, x))) == {"x"}

    def guarded(v):
        if (v <= 0).any():
            raise ValueError("negative")
        return np.log(v).sum()

    assert check_gradient(guarded, lambda v: 1 / v, x).ok


def test_x_is_never_changed_and_a_function_that_tries_is_named():
    def spoiling(x):
        x *= 2
        return x.sum()

    x = X.copy()
    report = check_gradient(spoiling, lambda x: np.full(x.shape, 2.0), x)
    assert np.array_equal(x, X)
    assert only(report).verdict is Verdict.HOLDS
    found = only(report, "handwritten-arguments")
    assert (found.verdict, found.where.parameter) == (Verdict.VIOLATED, "x")
    assert not report.ok


def test_a_function_that_raises_is_an_error_with_its_place():
    report = check_gradient(loss, lambda p: 1 / 0, PARAMETERS)
    found = only(report)
    assert found.verdict is Verdict.ERROR
    assert "ZeroDivisionError" in found.reason
    assert "stage: backward" in found.reason
    assert "test_functions.py" in found.reason


def test_the_same_seed_gives_the_same_findings():
    first, second = (check_gradient(loss, broken("W2", lambda g: g**3), PARAMETERS, seed=4) for _ in range(2))
    assert first.findings == second.findings
