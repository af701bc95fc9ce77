"""Shape inference: what each kind of layer does to the shape of one sample (the batch axis left out)."""

import math
from collections.abc import Callable

from gradcheck_suite.architectures.settings import Settings
from gradcheck_suite.core.architecture import Layer, Option
from gradcheck_suite.core.errors import UsageError

Shape = tuple[int, ...]
ShapeRule = Callable[[Layer, Settings, Shape], Shape]


def whole(value: Option | None) -> int:
    """An option that the grammar has checked to be an integer."""
    assert isinstance(value, int)
    return value


def per_axis(layer: Layer, name: str, value: Option | None, axes: int) -> Shape:
    """A size for each spatial axis.

    Raises:
        UsageError: the option gives a different number of sizes.
    """
    if isinstance(value, tuple) and len(value) != axes:
        raise UsageError(f"{layer.kind}: {name}={value!r} on {axes} spatial axes", allowed=f"an integer or {axes} integers")
    return value if isinstance(value, tuple) else (whole(value),) * axes


def same(layer: Layer, settings: Settings, shape: Shape) -> Shape:
    """The shape stays."""
    return shape


def dense(layer: Layer, settings: Settings, shape: Shape) -> Shape:
    """The last axis becomes ``units``."""
    return (*shape[:-1], whole(settings["units"]))


def embedding(layer: Layer, settings: Settings, shape: Shape) -> Shape:
    """A feature axis is added."""
    return (*shape, whole(settings["units"]))


def recurrent(layer: Layer, settings: Settings, shape: Shape) -> Shape:
    """The last axis becomes ``units``, twice that in both directions."""
    return (*shape[:-1], whole(settings["units"]) * (2 if settings["bidirectional"] else 1))


def attention(layer: Layer, settings: Settings, shape: Shape) -> Shape:
    """The shape stays; the heads share the features equally."""
    if shape[-1] % whole(settings["heads"]):
        allowed = ", ".join(str(n) for n in range(1, shape[-1] + 1) if shape[-1] % n == 0)
        raise UsageError(f"{layer.kind}: heads={settings['heads']} on {shape[-1]} features", allowed=f"a divisor: {allowed}")
    return shape


def convolution(layer: Layer, settings: Settings, shape: Shape) -> Shape:
    """``channels`` and floor((n + 2 padding - dilation (kernel - 1) - 1) / stride) + 1 positions per axis."""
    groups, channels = whole(settings["groups"]), whole(settings["channels"])
    if shape[0] % groups or channels % groups:
        raise UsageError(
            f"{layer.kind}: groups={groups} with {shape[0]} channels in and {channels} out", allowed="a divisor of both"
        )
    if settings["padding_mode"] == "circular" and any(
        pad > size for pad, size in zip(per_axis(layer, "padding", settings["padding"], len(shape) - 1), shape[1:], strict=True)
    ):
        raise UsageError(f"{layer.kind}: circular padding={settings['padding']} on {shape[1:]}", allowed="no more than the size")
    return (channels, *_windows(layer, settings, shape[1:]))


def pool(layer: Layer, settings: Settings, shape: Shape) -> Shape:
    """As for a convolution, channels kept; the stride is the kernel where it is not given."""
    kernel = per_axis(layer, "kernel", settings["kernel"], len(shape) - 1)
    padding = per_axis(layer, "padding", settings["padding"], len(shape) - 1)
    if any(2 * pad > size for pad, size in zip(padding, kernel, strict=True)):
        raise UsageError(f"{layer.kind}: padding={settings['padding']} with kernel={settings['kernel']}", allowed="half the kernel")
    strided = {**settings, "stride": settings["kernel"] if settings["stride"] is None else settings["stride"], "dilation": 1}
    return (shape[0], *_windows(layer, strided, shape[1:]))


def _windows(layer: Layer, settings: Settings, sizes: Shape) -> Shape:
    names = ("kernel", "stride", "padding", "dilation")
    columns = [per_axis(layer, name, settings[name], len(sizes)) for name in names]
    result = []
    for size, kernel, stride, padding, dilation in zip(sizes, *columns, strict=True):
        room = size + 2 * padding - dilation * (kernel - 1) - 1
        if room < 0:
            raise UsageError(
                f"{layer.kind}: a window of {dilation * (kernel - 1) + 1} on {size} positions padded by {padding}",
                allowed=f"a window of at most {size + 2 * padding}",
                instead="Write a smaller kernel, or padding.",
            )
        result.append(room // stride + 1)
    return tuple(result)


def adaptive(layer: Layer, settings: Settings, shape: Shape) -> Shape:
    """``size`` positions on every spatial axis."""
    return (shape[0], *per_axis(layer, "size", settings["size"], len(shape) - 1))


def upsample(layer: Layer, settings: Settings, shape: Shape) -> Shape:
    """Every spatial axis grows by ``scale``."""
    return (shape[0], *(size * whole(settings["scale"]) for size in shape[1:]))


def flatten(layer: Layer, settings: Settings, shape: Shape) -> Shape:
    """One axis."""
    return (math.prod(shape),)


def last(layer: Layer, settings: Settings, shape: Shape) -> Shape:
    """The feature axis alone."""
    return shape[-1:]


def first(layer: Layer, settings: Settings, shape: Shape) -> Shape:
    """The channel axis alone."""
    return shape[:1]


def instance_norm(layer: Layer, settings: Settings, shape: Shape) -> Shape:
    """The shape stays; a channel needs two positions to have a variance."""
    if math.prod(shape[1:]) < 2:
        raise UsageError(f"{layer.kind} on {shape}: one position per channel", allowed="at least 2 positions")
    return shape


def group_norm(layer: Layer, settings: Settings, shape: Shape) -> Shape:
    """The shape stays; the groups share the channels equally, and a group needs two values to have a variance."""
    groups = whole(settings["groups"])
    if shape[0] % groups:
        raise UsageError(f"{layer.kind}: groups={groups} on {shape[0]} channels", allowed="a divisor of the channels")
    if math.prod(shape) // groups < 2:
        raise UsageError(f"{layer.kind}: groups={groups} on {shape}: one value per group", allowed="at least 2 values")
    return shape
