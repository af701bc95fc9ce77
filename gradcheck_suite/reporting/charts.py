"""Curves and histograms as inline SVG. Values that cannot be drawn are marked at the edge and counted, never dropped."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gradcheck_suite.core.exhibits import Curve, Histogram, Series
from gradcheck_suite.core.text import visible
from gradcheck_suite.reporting.axes import Axis, axis_of, integers
from gradcheck_suite.reporting.numbers import plain
from gradcheck_suite.reporting.svg import BAND, GRID, INK, MARK, QUIET, SERIES, inline

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_SERIES: Final = 8
MOST_POINTS: Final = 240
DASHES: Final = ("", "6 2", "2 2", "6 2 2 2", "9 3", "3 3", "9 2 2 2", "1 2")
_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "h")
_MARKED_POINTS: Final = 48  # beyond that markers hide the line
_LABEL: Final = 60  # characters
_Y_LABEL: Final = 24
_SIZE: Final = (5.2, 2.7)  # inches
_SETTINGS: Final[dict[Any, Any]] = {
    "svg.fonttype": "none", "svg.hashsalt": "gradcheck_suite", "text.parse_math": False, "text.usetex": False, "path.simplify": False,
    "font.family": ["DejaVu Sans"], "font.size": 10, "lines.linewidth": 1.6, "axes.linewidth": 0.8, "grid.linewidth": 0.6,
    "axes.edgecolor": QUIET, "xtick.color": QUIET, "ytick.color": QUIET, "grid.color": GRID, "axes.axisbelow": True,
    "axes.labelcolor": INK, "text.color": INK, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "axes.spines.top": False, "axes.spines.right": False,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a legend: ``color`` is a variable of the page, ``dash`` an SVG dash array, ``shape`` line or box."""

    name: str
    color: str
    dash: str = ""
    shape: str = "line"


@dataclass(frozen=True, slots=True)
class Drawing:
    """A chart for the page: the picture, its legend, and notes on what could not be drawn as it is."""

    title: str
    svg: str
    legend: tuple[Entry, ...] = ()
    notes: tuple[str, ...] = ()


def draw(exhibit: Curve | Histogram, name: str) -> Drawing:
    """A curve or histogram as a drawing; ``name`` is the prefix of its ids, unique in the page."""
    return _curve(exhibit, name) if isinstance(exhibit, Curve) else _histogram(exhibit, name)


@contextmanager
def _canvas() -> Iterator[tuple[Any, "Axes"]]:
    import warnings

    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # the browser has more fonts than matplotlib
        figure = Figure(figsize=_SIZE, layout="tight")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.grid(True, axis="y")
        yield figure, axes


def _curve(curve: Curve, name: str) -> Drawing:
    shown = tuple(_thinned(series) for series in curve.series[:MOST_SERIES])
    x_axis = axis_of([x for series in shown for x in series.x])
    y_axis = axis_of([y for series in shown for y in series.y], log=curve.log_y,
                     spread=[edge for series in shown for edge in _edges(series)], band=[edge for _, *pair in curve.band for edge in pair])
    with _canvas() as (figure, axes):
        _frame(axes, x_axis, y_axis, (curve.x_label, curve.y_label), integers([x for series in shown for x in series.x]))
        _band(axes, curve.band, (x_axis, y_axis))
        for index, series in enumerate(shown):
            _line(axes, series, index, (x_axis, y_axis))
        svg = inline(figure, name=name, title=visible(curve.title), description=_described(curve))
    entries = [Entry(_short(series.name), f"series-{index}", DASHES[index]) for index, series in enumerate(shown)]
    if curve.band:
        entries.append(Entry("allowed", "band", shape="box"))
    return Drawing(visible(curve.title), svg, tuple(entries), _notes(curve, y_axis))


def _frame(axes: "Axes", x_axis: Axis, y_axis: Axis, labels: tuple[str, str], whole: bool) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

    axes.set_xlabel(_short(labels[0]))
    axes.set_ylabel("\n".join(_wrapped(labels[1])))
    axes.set_xlim(x_axis.low, x_axis.high)
    axes.set_ylim(y_axis.low, y_axis.high)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=whole))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value, 4)))
    axes.yaxis.set_major_locator(FixedLocator(y_axis.ticks()))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: y_axis.label(value)))
    axes.tick_params(length=3, width=0.8)


def _band(axes: "Axes", band: Sequence[tuple[float, float, float]], axis: tuple[Axis, Axis]) -> None:
    x_axis, y_axis = axis
    points = [(x_axis.clipped(x), y_axis.clipped(low), y_axis.clipped(high)) for x, low, high in band
              if math.isfinite(x) and not (math.isnan(low) or math.isnan(high))]
    if not points:
        return
    if len(points) == 1:
        points = [(x_axis.low, *points[0][1:]), (x_axis.high, *points[0][1:])]
    x, low, high = zip(*points, strict=True)
    axes.fill_between(x, low, high, color=BAND, alpha=0.22, linewidth=0)
    for edge in (low, high):
        axes.plot(x, edge, color=BAND, linewidth=0.9)


def _line(axes: "Axes", series: Series, index: int, axis: tuple[Axis, Axis]) -> None:
    x_axis, y_axis = axis
    color = SERIES[index]
    points = [(x_axis.of(x), y_axis.of(y)) for x, y in zip(series.x, series.y, strict=False) if math.isfinite(x_axis.of(x))]
    dash = DASHES[index]
    style: Any = (0, tuple(float(part) / 1.6 for part in dash.split())) if dash else "-"
    axes.plot([x for x, _ in points], [y if math.isfinite(y) else math.nan for _, y in points], color=color, linestyle=style,
              marker=_MARKERS[index] if len(points) <= _MARKED_POINTS else "", markersize=3.6)
    if series.error:
        edges = [(x_axis.clipped(x), y_axis.clipped(y - e), y_axis.clipped(y + e))
                 for x, y, e in zip(series.x, series.y, series.error, strict=False) if math.isfinite(y) and not math.isnan(e)]
        axes.fill_between([x for x, _, _ in edges], [low for _, low, _ in edges], [high for _, _, high in edges], color=color, alpha=0.18,
                          linewidth=0)
    _off_scale(axes, points, y_axis, color)


def _off_scale(axes: "Axes", points: Sequence[tuple[float, float]], y_axis: Axis, color: str) -> None:
    """Marks at the edge for what has no place inside: below (zero on a logarithmic axis), above (infinite), not a number."""
    for marker, edge, chosen in (
        ("v", y_axis.low, [x for x, y in points if y == -math.inf]),
        ("^", y_axis.high, [x for x, y in points if y == math.inf]),
        ("x", y_axis.low, [x for x, y in points if math.isnan(y)]),
    ):
        if chosen:
            axes.plot(chosen, [edge] * len(chosen), marker, color=color, markersize=6, clip_on=False)


def _histogram(histogram: Histogram, name: str) -> Drawing:
    edges, counts = histogram.edges, histogram.counts
    bars = [(low, high, count) for low, high, count in zip(edges, edges[1:], counts, strict=False) if math.isfinite(high - low)]
    marker = [histogram.marker] if histogram.marker is not None and math.isfinite(histogram.marker) else []
    x_axis = axis_of([edge for low, high, _ in bars for edge in (low, high)] + marker)
    y_axis = axis_of([0.0, *(float(count) for _, _, count in bars)])
    with _canvas() as (figure, axes):
        _frame(axes, x_axis, y_axis, (histogram.x_label, "count"), False)
        axes.set_ylim(0, y_axis.high)
        axes.bar([low for low, _, _ in bars], [count for _, _, count in bars], [high - low for low, high, _ in bars], align="edge",
                 color=SERIES[0], edgecolor=GRID, linewidth=0.6)
        for place in marker:
            axes.axvline(place, color=GRID, linewidth=4)
            axes.axvline(place, color=MARK, linewidth=1.8, linestyle=(0, (4, 2)))
        words = f"Histogram of {sum(counts)} values in {len(counts)} bins from {plain(min(edges, default=math.nan), 3)} " \
                f"to {plain(max(edges, default=math.nan), 3)}."
        svg = inline(figure, name=name, title=visible(histogram.title), description=words)
    lost = len(counts) - len(bars)
    legend = tuple(Entry(f"reference {plain(place, 4)}", "mark", "4 2") for place in marker)
    notes = (f"{lost} {'bin' if lost == 1 else 'bins'} without finite edges not drawn",) if lost else ()
    return Drawing(visible(histogram.title), svg, legend, notes)


def _thinned(series: Series) -> Series:
    """At most ``MOST_POINTS`` points: of each stretch the least and the greatest, so that peaks stay."""
    pairs = list(zip(series.x, series.y, strict=False))
    if len(pairs) <= MOST_POINTS:
        return series
    size = math.ceil(len(pairs) / (MOST_POINTS // 2))
    kept: list[int] = []
    for start in range(0, len(pairs), size):
        stretch = range(start, min(start + size, len(pairs)))
        kept += sorted({min(stretch, key=lambda i: _key(pairs[i][1])), max(stretch, key=lambda i: _key(pairs[i][1]))})
    return Series(name=series.name, x=tuple(pairs[i][0] for i in kept), y=tuple(pairs[i][1] for i in kept),
                  error=tuple(series.error[i] for i in kept) if len(series.error) == len(pairs) else ())


def _key(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _intervals(series: Series) -> list[tuple[float, float]]:
    return [(y - e, y + e) for y, e in zip(series.y, series.error, strict=False)]


def _edges(series: Series) -> list[float]:
    return [edge for pair in _intervals(series) for edge in pair]


def _short(text: str, most: int = _LABEL) -> str:
    text = visible(text)
    return text if len(text) <= most else text[: most - 1] + "…"


def _wrapped(label: str) -> list[str]:
    """A label for an axis that is shorter than the label may be: at most two lines."""
    import textwrap

    lines = textwrap.wrap(visible(label), _Y_LABEL) or [""]
    return [lines[0], _short(" ".join(lines[1:]), _Y_LABEL)] if len(lines) > 1 else lines


def _described(curve: Curve) -> str:
    parts = [f"{visible(curve.y_label)} over {visible(curve.x_label)}."]
    for series in curve.series[:MOST_SERIES]:
        if series.y:
            parts.append(f"{visible(series.name)}: {len(series.y)} points, from {plain(series.y[0], 3)} to {plain(series.y[-1], 3)}.")
    return " ".join(parts)


def _notes(curve: Curve, y_axis: Axis) -> tuple[str, ...]:
    values = [y for series in curve.series[:MOST_SERIES] for y in series.y]
    places = [y_axis.of(y) for y in values]
    zero = sum(y == 0 and place == -math.inf for y, place in zip(values, places, strict=True))
    below, above, nan = places.count(-math.inf) - zero, places.count(math.inf), sum(map(math.isnan, values))
    more = len(curve.series) - MOST_SERIES
    thinned = any(len(series.x) > MOST_POINTS for series in curve.series)
    notes = [
        f"▼ {_points(zero)} exactly 0, which a logarithmic axis cannot show" if zero else "",
        f"▼ {_points(below)} {'negative' if y_axis.log else 'too far down to draw'}" if below else "",
        f"▲ {_points(above)} infinite or too large to draw" if above else "",
        f"× {_points(nan)} not a number" if nan else "",
        f"{more} more series are not drawn" if more > 0 else "",
        f"thinned to {MOST_POINTS} points per series" if thinned else "",
    ]
    return tuple(filter(None, notes))


def _points(number: int) -> str:
    return f"{number} point is" if number == 1 else f"{number} points are"
