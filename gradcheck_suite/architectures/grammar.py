"""The grammar: which layers may follow which, what they do to a shape, and how they are written in PyTorch.

Shapes are those of one sample, the batch axis left out. What an axis means is what PyTorch's layer of that kind takes it
for: convolutions, pools, batch, group and instance norm read ``(channels, ...)``, recurrent layers and attention read
``(time, features)``, dense layers act on the last axis. Layer and RMS norm act on the last axis, of an image on all three.
"""

import functools
from dataclasses import dataclass

from gradcheck_suite.architectures.kinds import KINDS, Kind
from gradcheck_suite.architectures.settings import Settings, settings
from gradcheck_suite.architectures.shapes import Shape
from gradcheck_suite.core.architecture import Architecture, Layer
from gradcheck_suite.core.errors import UsageError, did_you_mean

_RANKS = {1: "(features,)", 2: "(channels, length) or (time, features)", 3: "(channels, height, width)"}
_INSTEAD = {
    1: 'Layers on sequences, signals and images come before layer("flatten"), layer("last_step") and the like.',
    2: 'Write layer("flatten"), layer("last_step"), layer("mean_over_time") or layer("global_avg_pool") before it.',
    3: 'Write layer("flatten") or layer("global_avg_pool") before it.',
}


def kind_of(layer: Layer) -> Kind:
    """The entry of the table for a layer.

    Raises:
        UsageError: there is none.
    """
    if layer.kind not in KINDS:
        raise UsageError(f"unknown layer kind {layer.kind!r}", allowed=", ".join(KINDS), instead=did_you_mean(layer.kind, KINDS))
    return KINDS[layer.kind]


@functools.lru_cache(maxsize=8192)
def output_shape(layer: Layer, input_shape: Shape) -> Shape:
    """The shape of one output sample from that of one input sample.

    Raises:
        UsageError: the kind or an option is unknown, a value is not allowed, or the layer does not take this shape.
    """
    kind = kind_of(layer)
    chosen = settings(layer, kind.options)
    if len(input_shape) not in kind.ranks:
        raise UsageError(
            f"{layer.kind} on a sample of shape {input_shape}",
            allowed=" or ".join(_RANKS[rank] for rank in kind.ranks),
            instead=_INSTEAD.get(len(input_shape), ""),
        )
    if kind.family != "container":
        if layer.layers:
            raise UsageError(f"{layer.kind} with layers inside", allowed="containers alone have layers inside")
        return kind.shape(layer, chosen, input_shape)
    return _container(layer, chosen, input_shape)


def _container(layer: Layer, chosen: Settings, shape: Shape) -> Shape:
    if not layer.layers:
        raise UsageError(f"{layer.kind} without layers inside", instead=f'Write layer({layer.kind!r}, layer("dense", units=8)).')
    branch = shape
    for inner in layer.layers:
        branch = output_shape(inner, branch)
    if layer.kind in ("residual", "repeated") and branch != shape:
        raise UsageError(f"{layer.kind}: the branch makes {branch} of {shape}", allowed=f"a branch that ends with {shape}")
    if layer.kind != "concatenate":
        return branch
    axis = _axis(chosen, shape)
    if not 0 <= axis < len(shape):
        raise UsageError(f"concatenate: axis={chosen['axis']} on {shape}", allowed=f"0 to {len(shape) - 1}")
    rest = [size for index, size in enumerate(shape) if index != axis]
    if len(branch) != len(shape) or rest != [size for index, size in enumerate(branch) if index != axis]:
        raise UsageError(f"concatenate: the branch makes {branch} of {shape}", allowed=f"a branch that changes axis {axis} only")
    return (*shape[:axis], shape[axis] + branch[axis], *shape[axis + 1 :])


def _axis(chosen: Settings, shape: Shape) -> int:
    """The sample's axis on which ``concatenate`` joins: channels of an image, else the last, where it is not given."""
    if chosen["axis"] is None:
        return 0 if len(shape) == 3 else len(shape) - 1
    axis = chosen["axis"]
    assert isinstance(axis, int)
    return axis + len(shape) if axis < 0 else axis


def applicable(layer: Layer, input_shape: Shape) -> bool:
    """Whether the layer can be applied to a sample of this shape."""
    try:
        output_shape(layer, input_shape)
    except UsageError:
        return False
    return True


@functools.lru_cache(maxsize=8192)
def expression(layer: Layer, input_shape: Shape, vocabulary: int = 0, indent: str = "") -> str:
    """The PyTorch expression that makes the layer; ``build`` evaluates it, ``to_python`` prints it.

    Raises:
        UsageError: as ``output_shape``.
    """
    output_shape(layer, input_shape)
    kind = kind_of(layer)
    chosen = settings(layer, kind.options)
    facts: dict[str, object] = {
        "first": input_shape[0],
        "last": input_shape[-1],
        "axes": len(input_shape) - 1,
        "batch_axes": max(1, len(input_shape) - 1),
        "normalized": list(input_shape) if len(input_shape) == 3 else input_shape[-1],
        "vocabulary": vocabulary,
        "indent": indent,
        "more": "".join(
            f", {keyword}={chosen[name]!r}" for name, keyword in kind.more.items() if chosen[name] != kind.options[name].default
        ),
        "norm_first": chosen.get("norm") == "pre",
    }
    if kind.family == "container":
        facts["inside"] = inside(layer.layers, input_shape, vocabulary, indent)
        facts["batch_axis"] = _axis(chosen, input_shape) + 1 if layer.kind == "concatenate" else None
    return kind.expression.format_map({**chosen, **facts})


def inside(layers: tuple[Layer, ...], input_shape: Shape, vocabulary: int, indent: str) -> str:
    """Layers in a row as the arguments of a container, one a line."""
    lines, shape = [], input_shape
    for inner in layers:
        lines.append(f"{indent}    {expression(inner, shape, vocabulary, indent + '    ')},\n")
        shape = output_shape(inner, shape)
    return "\n" + "".join(lines) + indent


@dataclass(frozen=True, slots=True)
class Place:
    """A layer where it stands: with the shape of one sample before and after it."""

    layer: Layer
    input_shape: Shape
    output_shape: Shape


def places(architecture: Architecture) -> dict[str, Place]:
    """Every layer with its shapes by dotted module path, containers before what is inside them.

    Raises:
        UsageError: as ``output_shape``.
    """
    found: dict[str, Place] = {}
    _visit(architecture.layers, architecture.input_shape, "", found)
    return found


def _visit(layers: tuple[Layer, ...], shape: Shape, path: str, found: dict[str, Place]) -> None:
    for index, layer in enumerate(layers):
        after = output_shape(layer, shape)
        found[f"{path}{index}"] = Place(layer, shape, after)
        _visit(layer.layers, shape, f"{path}{index}.", found)
        shape = after
