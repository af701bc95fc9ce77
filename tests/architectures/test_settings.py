import math

import pytest

from gradcheck_suite.architectures.settings import choice, flag, integer, number, settings, sizes
from gradcheck_suite.core.architecture import layer
from gradcheck_suite.core.errors import UsageError, did_you_mean

TABLE = {"units": integer(), "bias": flag(True), "p": number(0.5, 0.0, 1.0), "mode": choice("zeros", "circular"), "kernel": sizes(3)}


def test_defaults_are_filled_in():
    assert settings(layer("x", units=4), TABLE) == {"units": 4, "bias": True, "p": 0.5, "mode": "zeros", "kernel": 3}


@pytest.mark.parametrize("given", [
    {"units": 0}, {"units": 2.0}, {"units": "2"}, {"units": True}, {"bias": 1}, {"p": 1.5}, {"p": math.nan}, {"p": True},
    {"mode": "reflect"}, {"kernel": (1, 2, 3)}, {"kernel": (1, 0)}, {"kernel": 0}, {"kernel": ()},
])
def test_a_value_that_is_not_allowed_is_refused_with_what_is(given):
    (name,) = given
    with pytest.raises(UsageError, match=name) as caught:
        settings(layer("x", **{"units": 1, **given}), TABLE)
    assert TABLE[name].allowed in str(caught.value)


@pytest.mark.parametrize("given", [{"p": 1}, {"p": 0.0}, {"mode": "circular"}, {"kernel": (2, 5)}, {"kernel": 7}, {"bias": False}])
def test_a_value_that_is_allowed_is_kept(given):
    (name,) = given
    assert settings(layer("x", units=1, **given), TABLE)[name] == given[name]


def test_an_unknown_option_is_refused_with_the_closest():
    with pytest.raises(UsageError, match="Did you mean 'units'"):
        settings(layer("x", unit=3), TABLE)


def test_a_missing_option_is_named():
    with pytest.raises(UsageError, match=r"needs the option 'units'"):
        settings(layer("x"), TABLE)


def test_nothing_is_proposed_for_a_name_like_no_other():
    assert did_you_mean("zzzz", TABLE) == ""
