"""The table of layer kinds: options, the shapes they take and give, and the PyTorch expression of each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from gradcheck_suite.architectures import shapes
from gradcheck_suite.architectures.settings import Setting, choice, flag, integer, number, sizes

Family = Literal["weighted", "activation", "normalization", "pooling", "shape", "container"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of layer.

    Attributes:
        family: what it is for; ``weighted`` kinds have weights that an initialisation draws.
        ranks: numbers of axes that its input may have, the batch axis left out.
        expression: PyTorch expression, a format string over the options and the facts of ``grammar.facts``.
        options: what may be set.
        shape: from the input's shape to the output's.
        more: PyTorch's keyword of each option that is written only where it is not the default.
        slope_or_affine: whether it has parameters although it is not ``weighted``.
    """

    family: Family
    ranks: tuple[int, ...]
    expression: str
    options: Mapping[str, Setting] = field(default_factory=dict)
    shape: shapes.ShapeRule = shapes.same
    more: Mapping[str, str] = field(default_factory=dict)
    slope_or_affine: bool = False

    @property
    def parameters(self) -> bool:
        """Whether it has parameters of its own."""
        return self.slope_or_affine or self.family == "weighted"


def _activation(expression: str, **options: Setting) -> Kind:
    return Kind("activation", (1, 2, 3), expression, options)


def _convolution(axes: int) -> Kind:
    expression = f"nn.Conv{axes}d({{first}}, {{channels}}, {{kernel}}{{more}})"
    options = {
        "channels": integer(), "kernel": sizes(3), "stride": sizes(1), "padding": sizes(0, low=0), "dilation": sizes(1),
        "groups": integer(1), "bias": flag(True), "padding_mode": choice("zeros", "circular"),
    }  # fmt: skip
    more = {name: name for name in ("stride", "padding", "dilation", "groups", "bias", "padding_mode")}
    return Kind("weighted", (axes + 1,), expression, options, shapes.convolution, more)


def _pool(name: str) -> Kind:
    options = {"kernel": sizes(2), "stride": sizes(None), "padding": sizes(0, low=0)}
    expression = f"nn.{name}{{axes}}d({{kernel}}{{more}})"
    return Kind("pooling", (2, 3), expression, options, shapes.pool, {"stride": "stride", "padding": "padding"})


def _recurrent(name: str) -> Kind:
    options = {"units": integer(), "layers": integer(1), "bidirectional": flag(False)}
    expression = f"{name}({{last}}, {{units}}, batch_first=True{{more}})"
    more = {"layers": "num_layers", "bidirectional": "bidirectional"}
    return Kind("weighted", (2,), expression, options, shapes.recurrent, more)


def _norm(ranks: tuple[int, ...], expression: str, shape: shapes.ShapeRule = shapes.same, **options: Setting) -> Kind:
    table = {**options, "eps": number(1e-5, low=0.0)}
    affine = "InstanceNorm" not in expression
    return Kind("normalization", ranks, expression, table, shape, {"eps": "eps"}, affine)


KINDS: Mapping[str, Kind] = MappingProxyType({
    "dense": Kind(
        "weighted", (1, 2), "nn.Linear({last}, {units}{more})", {"units": integer(), "bias": flag(True)}, shapes.dense, {"bias": "bias"}
    ),
    "relu": _activation("nn.ReLU()"),
    "tanh": _activation("nn.Tanh()"),
    "sigmoid": _activation("nn.Sigmoid()"),
    "identity": _activation("nn.Identity()"),
    "leaky_relu": _activation("nn.LeakyReLU({slope})", slope=number(0.01)),
    "prelu": Kind("activation", (1, 2, 3), "nn.PReLU(init={slope})", {"slope": number(0.25)}, slope_or_affine=True),
    "elu": _activation("nn.ELU()"),
    "selu": _activation("nn.SELU()"),
    "gelu": _activation("nn.GELU()"),
    "silu": _activation("nn.SiLU()"),
    "mish": _activation("nn.Mish()"),
    "softplus": _activation("nn.Softplus()"),
    "hardtanh": _activation("nn.Hardtanh()"),
    "dropout": Kind("activation", (1, 2, 3), "nn.Dropout({p})", {"p": number(0.5, 0.0, 1.0)}),
    "conv1d": _convolution(1),
    "conv2d": _convolution(2),
    "batch_norm": _norm((1, 2, 3), "nn.BatchNorm{batch_axes}d({first}{more})"),
    "layer_norm": _norm((1, 2, 3), "nn.LayerNorm({normalized}{more})"),
    "rms_norm": _norm((1, 2, 3), "nn.RMSNorm({normalized}{more})"),
    "group_norm": _norm((1, 2, 3), "nn.GroupNorm({groups}, {first}{more})", shapes.group_norm, groups=integer()),
    "instance_norm": _norm((2, 3), "nn.InstanceNorm{axes}d({first}{more})", shapes.instance_norm),
    "max_pool": _pool("MaxPool"),
    "avg_pool": _pool("AvgPool"),
    "adaptive_avg_pool": Kind("pooling", (2, 3), "nn.AdaptiveAvgPool{axes}d({size})", {"size": sizes(1)}, shapes.adaptive),
    "adaptive_max_pool": Kind("pooling", (2, 3), "nn.AdaptiveMaxPool{axes}d({size})", {"size": sizes(1)}, shapes.adaptive),
    "upsample": Kind("pooling", (2, 3), "nn.Upsample(scale_factor={scale})", {"scale": integer(2)}, shapes.upsample),
    "flatten": Kind("shape", (1, 2, 3), "nn.Flatten()", {}, shapes.flatten),
    "last_step": Kind("shape", (2,), "LastStep()", {}, shapes.last),
    "mean_over_time": Kind("shape", (2,), "MeanOverTime()", {}, shapes.last),
    "global_avg_pool": Kind("shape", (2, 3), "GlobalAveragePool()", {}, shapes.first),
    "embedding": Kind(
        "weighted", (1,), "nn.Embedding({vocabulary}, {units}{more})", {"units": integer(), "padding": Setting("integer", None, 0)},
        shapes.embedding, {"padding": "padding_idx"},
    ),
    "rnn": _recurrent("RNN"),
    "lstm": _recurrent("LSTM"),
    "gru": _recurrent("GRU"),
    "attention": Kind(
        "weighted", (2,), "SelfAttention({last}, {heads}, causal={causal})", {"heads": integer(), "causal": flag(False)}, shapes.attention
    ),
    "encoder": Kind(
        "weighted", (2,), "Encoder({last}, {heads}, {hidden}, norm_first={norm_first}, causal={causal})",
        {"heads": integer(), "hidden": integer(), "norm": choice("pre", "post"), "causal": flag(False)}, shapes.attention,
    ),
    "sequential": Kind("container", (1, 2, 3), "nn.Sequential({inside})"),
    "residual": Kind("container", (1, 2, 3), "Residual({inside})"),
    "repeated": Kind("container", (1, 2, 3), "Repeated({inside}    times={times},\n{indent})", {"times": integer(2)}),
    "concatenate": Kind(
        "container", (1, 2, 3), "Concatenate({inside}    axis={batch_axis},\n{indent})", {"axis": Setting("integer", None, -3, 2)}
    ),
})  # fmt: skip
