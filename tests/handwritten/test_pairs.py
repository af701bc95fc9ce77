"""(forward, backward) pairs that hand over a cache."""

import numpy as np

from gradcheck_suite.handwritten import check_pair
from tests.handwritten.reading import violations

GENERATOR = np.random.default_rng(6)
X, W, B = GENERATOR.normal(size=(9, 4)), GENERATOR.normal(size=(4, 3)), np.zeros(3)


def affine(x, w, b, settings):
    settings["calls"] += 1
    return x @ w + b, (x, w)


def affine_backward(cotangent, cache):
    x, w = cache
    return cotangent @ w.T, x.T @ cotangent, cotangent.sum(axis=0)


def test_a_pair_with_a_cache_is_checked_with_its_arguments_by_name():
    settings = {"calls": 0}
    arguments = (X, W, B, settings)
    assert check_pair(affine, affine_backward, arguments).ok
    assert settings == {"calls": 0}
    report = check_pair(affine, lambda u, cache: (affine_backward(u, cache)[0], *affine_backward(2 * u, cache)[1:]), arguments)
    assert set(violations(report)) == {"w", "b"}


def test_a_pair_may_have_several_outputs():
    def forward(x):
        return np.sin(x), np.cos(x), x

    assert check_pair(forward, lambda u, v, x: u * np.cos(x) - v * np.sin(x), (X,)).ok
    assert set(violations(check_pair(forward, lambda u, v, x: u * np.cos(x) + v * np.sin(x), (X,)))) == {"x"}
