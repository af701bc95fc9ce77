"""Captures as bytes, and bytes that are not captures."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradcheck_suite.captures.codec import BadCapture, decode, encode, frozen
from gradcheck_suite.core.evidence import Where


def test_arrays_come_back_equal_read_only_and_nan_safe():
    values = {"a": frozen([[1.0, math.nan], [math.inf, -0.0]]), "n": frozen([1, 2], "<i8"), "b": frozen([True, False], "|b1")}
    again = decode(encode(values))
    for name, array in values.items():
        assert np.array_equal(again[name], array, equal_nan=array.dtype.kind == "f")
        assert not again[name].flags.writeable


def test_a_dataclass_of_ours_comes_back():
    where = Where(module="<script>\x00", entry=(1, 2))
    assert decode(encode((where, None, 1.5, math.inf))) == (where, None, 1.5, math.inf)


@dataclass
class Stranger:
    value: int


def test_a_type_from_elsewhere_is_refused():
    with pytest.raises(BadCapture):
        decode(encode(Stranger(1)))


def test_what_is_not_data_does_not_travel():
    with pytest.raises(TypeError, match="does not travel"):
        encode(object())


@given(st.binary(max_size=64))
def test_noise_is_plain_data_or_a_bad_capture_and_nothing_worse(blob):
    try:
        value = decode(blob)
    except BadCapture:
        return
    assert isinstance(value, int | float | str | tuple | dict | None)


@given(st.integers(0, 400))
def test_a_torn_capture_is_a_bad_capture(cut):
    blob = encode({"x": frozen(np.arange(32.0))})
    if cut < len(blob):
        with pytest.raises(BadCapture):
            decode(blob[:cut])
