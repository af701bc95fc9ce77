"""Names for the steps of a model: which torch modules and functions are which kind of the grammar, and their settings."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize

Settings = tuple[tuple[str, Any], ...]

_PLAIN: dict[type[nn.Module], str] = {
    nn.ReLU: "relu", nn.SELU: "selu", nn.SiLU: "silu", nn.Mish: "mish", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid", nn.Identity: "identity",
    nn.ReLU6: "relu6", nn.Softsign: "softsign", nn.Hardswish: "hardswish", nn.Flatten: "flatten",
}
_WITH_SETTINGS: dict[type[nn.Module], tuple[str, Callable[[Any], dict[str, Any]]]] = {
    nn.LeakyReLU: ("leaky_relu", lambda m: {"slope": float(m.negative_slope)}),
    nn.PReLU: ("prelu", lambda m: {"slope": _common(m.weight)}),
    nn.ELU: ("elu", lambda m: {"alpha": float(m.alpha)}),
    nn.GELU: ("gelu", lambda m: {"approximate": m.approximate}),
    nn.Softplus: ("softplus", lambda m: {"beta": float(m.beta), "threshold": float(m.threshold)}),
    nn.Hardtanh: ("hardtanh", lambda m: {"low": float(m.min_val), "high": float(m.max_val)}),
    nn.Dropout: ("dropout", lambda m: {"p": float(m.p)}),
    nn.Linear: ("dense", lambda m: {}),
    nn.BatchNorm1d: ("batch_norm", lambda m: {**_norm(m), "batch": m.training}),
    nn.BatchNorm2d: ("batch_norm", lambda m: {**_norm(m), "batch": m.training}),
    nn.GroupNorm: ("group_norm", lambda m: {**_norm(m), "groups": m.num_groups}),
    nn.LayerNorm: ("layer_norm", lambda m: {"eps": float(m.eps), "affine": m.elementwise_affine}),
    nn.RMSNorm: ("rms_norm", lambda m: {"affine": m.elementwise_affine}),
}
_CONVOLUTIONS: dict[type[nn.Module], str] = {nn.Conv1d: "conv1d", nn.Conv2d: "conv2d"}
_POOLS: dict[type[nn.Module], str] = {
    nn.MaxPool1d: "max_pool", nn.MaxPool2d: "max_pool", nn.AvgPool1d: "avg_pool", nn.AvgPool2d: "avg_pool",
}
_ACTIVATIONS = ("relu", "tanh", "sigmoid", "gelu", "silu", "selu", "mish", "softsign", "relu6", "hardswish", "leaky_relu", "elu",
                "softplus", "hardtanh")
_HOMES = (functional, torch, torch.Tensor)
_FUNCTIONS: dict[Any, str] = {
    **{getattr(home, name): name for home in _HOMES for name in _ACTIVATIONS if hasattr(home, name)},
    **{getattr(home, name): "flatten" for home in _HOMES for name in ("flatten", "reshape", "view") if hasattr(home, name)},
}
_FUNCTION_SETTINGS: dict[str, tuple[tuple[str, float], ...]] = {
    "leaky_relu": (("slope", 0.01),), "elu": (("alpha", 1.0),), "softplus": (("beta", 1.0), ("threshold", 20.0)),
    "hardtanh": (("low", -1.0), ("high", 1.0)),
}
_ARGUMENTS = {"slope": "negative_slope", "low": "min_val", "high": "max_val"}


def _forward(module: nn.Module) -> Any:
    """The forward method of the module's class; ``None`` for compiled TorchScript, which has none in Python."""
    return None if isinstance(module, torch.jit.ScriptModule) else type(module).forward


def module_step(module: nn.Module, *, declared: bool = False) -> tuple[str, Settings] | None:
    """Kind and settings of a known module, ``None`` for any other.

    A subclass counts as its base only where it kept the base's ``forward``, or where it is ``declared`` to be of that kind (a fault
    planted in a generated network does not change what the network was meant to be). A dropout that is off is the identity.
    """
    base = _base(module, declared)
    if base is None:
        return None
    if base in _PLAIN:
        kind, settings = _PLAIN[base], {"slope": 0.0} if base is nn.ReLU else {}
    elif base in _WITH_SETTINGS:
        kind, read = _WITH_SETTINGS[base]
        settings = read(module)
    elif base in _CONVOLUTIONS:
        kind, settings = _CONVOLUTIONS[base], _convolution(module)
    else:
        kind, settings = _POOLS[base], _pool(module)
    if kind == "dropout" and (not module.training or settings["p"] == 0.0):
        return "identity", ()
    return kind, tuple(sorted(settings.items()))


def function_step(function: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[str, Settings] | None:
    """Kind and settings of a known function of one tensor, ``None`` for any other."""
    try:
        kind = _FUNCTIONS.get(function)
    except TypeError:
        return None
    if kind is None:
        return None
    settings: dict[str, Any] = {"slope": 0.0} if kind == "relu" else {}
    for position, (name, default) in enumerate(_FUNCTION_SETTINGS.get(kind, ())):
        given = args[position + 1] if len(args) > position + 1 else kwargs.get(_ARGUMENTS.get(name, name), default)
        settings[name] = float(given)
    if kind == "gelu":
        settings["approximate"] = kwargs.get("approximate", "none")
    return kind, tuple(sorted(settings.items()))


def is_plain(module: nn.Module, hooks: int = 0) -> bool:
    """No parametrisation, no ``forward`` of its own, no frozen weight, no forward hooks beyond ``hooks`` of the observer's own."""
    own = _base(module, True)
    if own is not None and _forward(module) is not own.forward:
        return False
    frozen = any(not p.requires_grad for p in module.parameters(recurse=False))
    hooked = len(module._forward_hooks) + len(module._forward_pre_hooks) > hooks
    return not (frozen or hooked or parametrize.is_parametrized(module))


def fans(module: nn.Module) -> tuple[int, int]:
    """Fan-in and fan-out of a layer with a weight, as torch counts them (fan-out ignores groups); zeros without."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, torch.Tensor) or weight.dim() < 2:
        return 0, 0
    field = weight[0, 0].numel()
    return weight.size(1) * field, weight.size(0) * field


def bias_state(module: nn.Module) -> str:
    """``absent``, ``zero`` or ``nonzero``."""
    bias = getattr(module, "bias", None)
    if not isinstance(bias, torch.Tensor):
        return "absent"
    return "nonzero" if bool(bias.detach().ne(0).any()) else "zero"


def _base(module: nn.Module, declared: bool) -> type[nn.Module] | None:
    known = (*_PLAIN, *_WITH_SETTINGS, *_CONVOLUTIONS, *_POOLS)
    for base in known:
        own = _forward(module) is base.forward and "forward" not in vars(module)
        if isinstance(module, base) and (own or declared):
            return base
    return None


def _common(weight: torch.Tensor) -> float:
    values = weight.detach().double()
    return float(values.flatten()[0]) if bool(values.eq(values.flatten()[0]).all()) else float("nan")


def _norm(module: Any) -> dict[str, Any]:
    return {"eps": float(module.eps), "affine": bool(module.affine)}


def _convolution(module: Any) -> dict[str, Any]:
    padding = module.padding if isinstance(module.padding, str) else tuple(module.padding)
    return {"kernel": tuple(module.kernel_size), "stride": tuple(module.stride), "padding": padding, "dilation": tuple(module.dilation),
            "groups": int(module.groups), "padding_mode": module.padding_mode}


def _pool(module: Any) -> dict[str, Any]:
    def pair(value: Any) -> tuple[int, ...]:
        return tuple(value) if isinstance(value, list | tuple) else (int(value),)

    return {"kernel": pair(module.kernel_size), "stride": pair(module.stride), "padding": pair(module.padding)}
