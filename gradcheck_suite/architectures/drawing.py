"""Drawing one layer at a time: every choice is among what fits the shape reached so far.

All draws shrink toward their first alternative or least number: fewer and smaller layers with default options.
"""

import functools
import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from hypothesis import strategies as st

from gradcheck_suite.architectures.domain import Domain, Form, Need, allowed, inner, step
from gradcheck_suite.architectures.draws import Draw, between, divisors, one_of, seldom
from gradcheck_suite.architectures.grammar import output_shape
from gradcheck_suite.architectures.kinds import KINDS
from gradcheck_suite.architectures.shapes import Shape
from gradcheck_suite.core.architecture import Layer, Option, layer

Options = dict[str, Option]

_MOST_POSITIONS = 64
_LONGEST_BRANCH = 3


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a layer is drawn.

    ``keeps`` says what it must leave as it is: nothing, the number of positions, or the whole shape; ``biased`` whether it
    must have its bias.
    """

    domain: Domain
    form: Form
    shape: Shape
    keeps: Literal["nothing", "positions", "shape"] = "nothing"
    biased: bool = False

    @property
    def features(self) -> int:
        """The size of the axis of features or channels."""
        return self.shape[0] if self.form in ("signal", "image") else self.shape[-1]

    @property
    def positions(self) -> int:
        """The number of positions in time or space."""
        return math.prod(self.shape) // self.features

    @property
    def smallest(self) -> int:
        """The size of the shortest spatial axis."""
        return min(self.shape[1:])


def input_shape(draw: Draw, domain: Domain, form: Form) -> Shape:
    """A sample's shape; signals and images have at least two positions."""
    if form == "tokens":
        return (draw(between(1, 6)),)
    features = draw(between(*domain.units))
    if form == "features":
        return (features,)
    if form == "sequence":
        return (draw(between(1, 6)), features)
    return (features, draw(between(2, 8))) if form == "signal" else (features, draw(between(2, 6)), draw(between(2, 6)))


@dataclass(frozen=True, slots=True)
class Drawn:
    """A layer, and a mark for it and for each layer inside, in the order of ``Layer.walk``.

    A defect is planted at the highest mark. As the marks are drawn with the layers, deleting another layer while shrinking
    leaves the defect in its place.
    """

    layer: Layer
    marks: tuple[int, ...]


@st.composite
def next_layer(draw: Draw, spot: Spot, depth: tuple[int, int], need: Need) -> Drawn | None:
    """One more layer at the top level, or ``None`` to end where that is possible.

    ``depth`` is how many more layers there must and may be, ``need`` what must still be among them.
    """
    kinds = _kinds(spot, depth, need)
    # Drawn even where the answer is known, so that deleting a layer leaves the remaining choices in step.
    end = draw(between(0, _persistence(spot.domain))) == 0
    if not kinds or (end and depth[0] == 0 and need[1] == 0):
        return None
    return of_kind(draw, draw(_weighed(kinds)), spot)


def _persistence(domain: Domain) -> int:
    """The odds of a further layer against the end, so that a good part of the depth is reached."""
    return max(1, domain.depth[1] - domain.depth[0])


@functools.lru_cache(maxsize=8192)
def _kinds(spot: Spot, depth: tuple[int, int], need: Need) -> tuple[str, ...]:
    """The kinds that may come next; none where nothing fits, which ``step`` allows only where the row may end."""
    if depth[1] == 0:
        return ()
    domain, form = spot.domain, spot.form
    return tuple(kind for kind in allowed(domain, form) if fits(kind, spot) and step(domain, form, depth, need, kind))


@functools.lru_cache(maxsize=8192)
def _weighed(kinds: tuple[str, ...]) -> st.SearchStrategy[str]:
    """Kinds, those with weights and containers three times as likely, with the same first."""
    often = tuple(kind for kind in kinds if KINDS[kind].family in ("weighted", "container"))
    return st.sampled_from(kinds + often + often)


def fits(kind: str, spot: Spot) -> bool:
    """Whether the kind can be drawn on this spot, under the domain's limits on sizes."""
    if KINDS[kind].family == "container":
        return spot.features <= spot.domain.cap and bool(_branch_kinds(replace(spot, keeps="shape")))
    if kind == "batch_norm":
        return spot.domain.batch[1] * spot.positions > 1
    if kind == "instance_norm":
        return spot.positions > 1
    if kind == "group_norm":
        return math.prod(spot.shape) > 1
    return spot.keeps == "nothing" or KINDS[kind].family != "weighted" or spot.features <= spot.domain.cap


@functools.lru_cache(maxsize=8192)
def _branch_kinds(spot: Spot) -> tuple[str, ...]:
    return tuple(kind for kind in inner(spot.domain, spot.form) if fits(kind, spot))


@st.composite
def _next_inside(draw: Draw, spot: Spot, number: int) -> Drawn | None:
    kinds = _branch_kinds(spot)
    end = draw(between(0, 2)) == 0
    if not kinds or number == _LONGEST_BRANCH or (end and number > 0):
        return None
    return of_kind(draw, draw(_weighed(kinds)), spot)


def _container(draw: Draw, kind: str, spot: Spot, mark: int) -> Drawn:
    """A container with a branch of one to three layers that fits it."""
    spot = replace(spot, keeps="shape" if kind in ("residual", "repeated") else "positions")
    layers: list[Layer] = []
    marks = [mark]
    while (drawn := draw(_next_inside(spot, len(layers)))) is not None:
        layers.append(drawn.layer)
        marks += drawn.marks
        spot = replace(spot, shape=output_shape(drawn.layer, spot.shape))
    options: Options = {"axis": 0} if kind == "concatenate" and spot.form == "signal" else {}
    return Drawn(layer(kind, *layers, **options), tuple(marks))


def of_kind(draw: Draw, kind: str, spot: Spot) -> Drawn:
    """A layer of the kind with options that fit the spot; options at their default are left out."""
    mark = draw(between(0, 255)) if spot.domain.defects else 0
    if KINDS[kind].family == "container":
        return _container(draw, kind, spot, mark)
    chosen = _OPTIONS[kind](draw, spot) if kind in _OPTIONS else {}
    table = KINDS[kind].options
    options = {name: value for name, value in chosen.items() if value != table[name].default}
    return Drawn(layer(kind, **options), (mark,))


def _width(draw: Draw, spot: Spot) -> int:
    return spot.features if spot.keeps == "shape" else draw(between(*spot.domain.units))


def _bias(draw: Draw, spot: Spot) -> Options:
    return {"bias": not seldom(draw) or spot.biased}


def _dense(draw: Draw, spot: Spot) -> Options:
    return {"units": _width(draw, spot), **_bias(draw, spot)}


def _embedding(draw: Draw, spot: Spot) -> Options:
    options: Options = {"units": draw(between(*spot.domain.units))}
    return {**options, "padding": 0} if seldom(draw) else options


def _recurrent(draw: Draw, spot: Spot) -> Options:
    units = _width(draw, spot)
    both = seldom(draw) and (spot.keeps != "shape" or units % 2 == 0)
    halved = units // 2 if both and spot.keeps == "shape" else units
    return {"units": halved, "bidirectional": both, "layers": 1 + seldom(draw)}


def _attention(draw: Draw, spot: Spot) -> Options:
    return {"heads": draw(one_of(*divisors(spot.features))), "causal": seldom(draw)}


def _encoder(draw: Draw, spot: Spot) -> Options:
    hidden = draw(between(*spot.domain.units))
    return {**_attention(draw, spot), "hidden": hidden, "norm": "post" if seldom(draw) else "pre"}


def _channels(draw: Draw, spot: Spot) -> Options:
    low, high = spot.domain.units
    if spot.keeps == "shape":
        return {"channels": spot.features, "groups": draw(one_of(*divisors(spot.features)))}
    # A divisor of the channels in that has a multiple within the width.
    groups = draw(one_of(*(n for n in divisors(spot.features) if high // n * n >= low)))
    return {"channels": groups * draw(between(-(-low // groups), high // groups)), "groups": groups}


def _convolution(draw: Draw, spot: Spot) -> Options:
    """Windows that leave ``least`` positions on the shortest axis; the same kernel on every axis."""
    least, size = spot.domain.least, spot.smallest
    if spot.keeps != "nothing":
        kernel = draw(one_of(1, 3))
        dilation = draw(between(1, 2)) if kernel > 1 else 1
        padding, stride = dilation * (kernel - 1) // 2, 1
    else:
        padding = draw(between(0, 1))
        slack = size + 2 * padding - least
        kernel = 1 + draw(between(0, min(2, slack)))
        dilation = draw(between(1, min(2, slack // (kernel - 1)))) if kernel > 1 else 1
        room = size + 2 * padding - dilation * (kernel - 1) - 1
        stride = draw(between(1, 2 if least == 1 else min(2, room)))
    circular = 0 < padding <= size and seldom(draw)
    windows: Options = {"kernel": kernel, "padding": padding, "dilation": dilation, "stride": stride}
    mode = {"padding_mode": "circular" if circular else "zeros"}
    return {**_channels(draw, spot), **windows, **mode, **_bias(draw, spot)}


def _pool(draw: Draw, spot: Spot) -> Options:
    """Kernels that leave ``least`` positions on the shortest axis."""
    kernel = draw(one_of(*(n for n in (2, 1, 3) if spot.smallest // n >= spot.domain.least)))
    chosen: Options = {"kernel": kernel, "padding": int(kernel > 1 and seldom(draw))}
    return {**chosen, "stride": 1} if seldom(draw) else chosen


def _adaptive(draw: Draw, spot: Spot) -> Options:
    return {"size": draw(between(spot.domain.least, 3))}


def _upsample(draw: Draw, spot: Spot) -> Options:
    grown = spot.positions * 2 ** (len(spot.shape) - 1)
    return {"scale": draw(one_of(*((2, 1) if grown <= _MOST_POSITIONS else (1,))))}


def _norm(draw: Draw, spot: Spot) -> Options:
    return {"eps": draw(one_of(1e-5, 1e-3, 1e-8))}


def _group_norm(draw: Draw, spot: Spot) -> Options:
    groups = (n for n in divisors(spot.features) if math.prod(spot.shape) // n > 1)
    return {"groups": draw(one_of(*groups)), **_norm(draw, spot)}


def _slope(draw: Draw, spot: Spot) -> Options:
    return {"slope": draw(one_of(0.01, 0.25, 1.0))}


def _dropout(draw: Draw, spot: Spot) -> Options:
    return {"p": draw(one_of(0.5, 0.1, 0.0))}


_OPTIONS: dict[str, Any] = {
    "dense": _dense, "embedding": _embedding, "conv1d": _convolution, "conv2d": _convolution, "encoder": _encoder,
    "attention": _attention, "max_pool": _pool, "avg_pool": _pool, "adaptive_avg_pool": _adaptive, "adaptive_max_pool": _adaptive,
    "upsample": _upsample, "group_norm": _group_norm, "leaky_relu": _slope, "prelu": _slope, "dropout": _dropout,
    **dict.fromkeys(("rnn", "lstm", "gru"), _recurrent),
    **dict.fromkeys(("batch_norm", "layer_norm", "rms_norm", "instance_norm"), _norm),
}  # fmt: skip
