"""Charts: well-formed, without colours or ids of their own, with every value drawn, marked or counted."""

import math
import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradcheck_suite.core.exhibits import Curve, Histogram, Series
from gradcheck_suite.reporting.charts import MOST_POINTS, MOST_SERIES, draw

LAYERS = tuple(float(index) for index in range(6))
NUMBERS = st.floats()
TRIPLES = st.tuples(NUMBERS, NUMBERS, NUMBERS)


def curve(*ys, log_y=True, **facts):
    series = tuple(Series(name=f"s{index}", x=tuple(map(float, range(len(y)))), y=tuple(y)) for index, y in enumerate(ys))
    return Curve(title="title", x_label="layer", y_label="RMS", series=series, log_y=log_y, **facts)


def ids(svg):
    return re.findall(r'\bid="([^"]+)"', svg)


def test_a_curve_is_one_picture_with_name_and_description():
    root = ET.fromstring(draw(curve((1.0, 0.1, 0.01)), "c1").svg)
    assert (root.tag, root.get("role")) == ("svg", "img")
    assert root.find("title").text == "title"
    assert "s0: 3 points, from 1 to 0.01" in root.find("desc").text
    assert root.get("aria-labelledby") == "c1-t c1-d"


def test_two_charts_share_no_id_and_every_reference_resolves():
    first, second = (draw(curve((1.0, 2.0), (3.0, 4.0), band=((0.0, 1.0, 2.0),)), name).svg for name in ("c1", "c2"))
    assert len(ids(first)) == len(set(ids(first)))
    assert not set(ids(first)) & set(ids(second))
    assert set(re.findall(r'href="#([^"]+)"', first) + re.findall(r"url\(#([^)]+)\)", first)) <= set(ids(first))


def test_the_same_data_gives_the_same_bytes():
    assert draw(curve((1.0, 2.0)), "c").svg == draw(curve((1.0, 2.0)), "c").svg


def test_colours_and_fonts_are_the_page_s():
    svg = draw(curve((1.0, 2.0), (2.0, 3.0), band=((0.0, 1.0, 2.0), (1.0, 1.0, 2.0))), "c").svg
    assert not re.search(r"#[0-9a-fA-F]{6}\b", svg)
    assert "font-family" not in svg
    assert "<style" not in svg
    assert "var(--series-1)" in svg
    assert len(svg) < 33_000


@pytest.mark.parametrize(("values", "note"), [
    ((1.0, 0.0, 0.5), "▼ 1 point is exactly 0"), ((1.0, -2.0, -3.0), "▼ 2 points are negative"),
    ((1.0, math.inf, 0.5), "▲ 1 point is infinite"), ((1.0, math.nan, 0.5), "× 1 point is not a number"),
])
def test_what_cannot_be_drawn_is_marked_and_counted(values, note):
    drawn = draw(curve(values), "c")
    assert any(text.startswith(note) for text in drawn.notes)
    shapes = drawn.svg.count("<defs>")  # each kind of mark is defined once
    assert shapes == draw(curve((1.0, 0.9, 0.5)), "c").svg.count("<defs>") + 1


def test_nothing_is_noted_where_all_is_drawn():
    assert draw(curve((1.0, 2.0)), "c").notes == ()


def test_long_and_many_series_are_thinned_and_counted():
    long = tuple(1.0 + (index == 7000) * 99 for index in range(10_000))
    drawn = draw(curve(*([long] * (MOST_SERIES + 3)), log_y=False), "c")
    assert len(drawn.legend) == MOST_SERIES
    assert "3 more series are not drawn" in drawn.notes
    assert f"thinned to {MOST_POINTS} points per series" in drawn.notes
    assert len(drawn.svg) < 120_000


def test_a_peak_survives_thinning():
    flat, peak = (tuple(1.0 + (index == spike) * 99 for index in range(1000)) for spike in (-1, 777))
    assert draw(curve(flat, log_y=False), "c").svg != draw(curve(peak, log_y=False), "c").svg


def test_a_histogram_with_a_reference():
    drawn = draw(Histogram(title="h", x_label="slope", edges=(0.0, 1.0, 2.0, math.inf), counts=(3, 5, 1), marker=1.5), "h1")
    assert "Histogram of 9 values in 3 bins" in drawn.svg
    assert [entry.name for entry in drawn.legend] == ["reference 1.5"]
    assert drawn.notes == ("1 bin without finite edges not drawn",)


def test_texts_are_literal():
    name = "<b>$x^2$</b> & \x00 \u202e"
    one = Curve(title=name, x_label=name, y_label=name, series=(Series(name=name, x=LAYERS, y=LAYERS),))
    drawn = draw(one, "c")
    texts = [element.text for element in ET.fromstring(drawn.svg).iter("text")]
    assert "<b>$x^2$</b> & \\x00 \\u202e" in texts
    assert drawn.legend[0].name == "<b>$x^2$</b> & \\x00 \\u202e"


@settings(max_examples=25, deadline=None)
@given(st.lists(TRIPLES, max_size=6), st.lists(TRIPLES, max_size=3), st.booleans())
def test_any_numbers_can_be_drawn(points, band, log):
    x, y, error = (tuple(values) for values in zip(*points, strict=True)) if points else ((), (), ())
    series = Series(name="s", x=x, y=y, error=error)
    drawn = draw(Curve(title="t", x_label="x", y_label="y", series=(series,), band=tuple(band), log_y=log), "c")
    ET.fromstring(drawn.svg)
    assert "nan" not in re.sub(r"<(title|desc)[^>]*>.*?</\1>", "", drawn.svg)


@settings(max_examples=15, deadline=None)
@given(st.lists(NUMBERS, max_size=6), st.lists(st.integers(0, 10**9), max_size=6), st.none() | NUMBERS)
def test_any_histogram_can_be_drawn(edges, counts, marker):
    ET.fromstring(draw(Histogram(title="t", x_label="x", edges=tuple(edges), counts=tuple(counts), marker=marker), "h").svg)
