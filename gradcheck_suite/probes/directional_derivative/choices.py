"""Discrete choices of single operations: on which side of which threshold, which index, which comparison.

Between two points at which every choice is the same, a composition of these operations is smooth. Operations with an
integer or boolean result that depends on numbers (comparisons, indices of maxima, sorts, conversions) are recognised by
that alone; the tables below add the choices that leave no such result.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch

Choice = tuple[str, torch.Tensor]
_Threshold = Callable[[Sequence[Any], Mapping[str, Any]], list[float]]


def _at(*thresholds: float) -> _Threshold:
    return lambda args, kwargs: list(thresholds)


def _argument(position: int, name: str, default: float) -> Callable[[Sequence[Any], Mapping[str, Any]], Any]:
    return lambda args, kwargs: args[position] if len(args) > position else kwargs.get(name, default)


def _bounds(args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[float]:
    given = [*args[1:3], *(kwargs[name] for name in ("min", "max", "min_val", "max_val") if name in kwargs)]
    return [float(item) for item in given if isinstance(item, int | float) and not isinstance(item, bool)]


def _symmetric(args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[float]:
    width = float(_argument(1, "lambd", 0.5)(args, kwargs))
    return [-width, width]


def _softplus(args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[float]:
    return [float(_argument(2, "threshold", 20)(args, kwargs)) / float(_argument(1, "beta", 1)(args, kwargs))]


THRESHOLDS: Final[Mapping[str, _Threshold]] = {
    **dict.fromkeys(("relu", "leaky_relu", "elu", "celu", "selu", "abs", "sgn", "sign", "prelu", "_prelu_kernel", "rrelu_with_noise",
                     "heaviside"), _at(0.0)),
    "threshold": lambda args, kwargs: [float(_argument(1, "threshold", 0)(args, kwargs))],
    "hardtanh": lambda args, kwargs: _bounds(args, kwargs) if len(args) > 2 or kwargs else [-1.0, 1.0],
    "clamp": _bounds,
    "clamp_min": _bounds,
    "clamp_max": _bounds,
    "hardswish": _at(-3.0, 3.0),
    "hardsigmoid": _at(-3.0, 3.0),
    "hardshrink": _symmetric,
    "softshrink": _symmetric,
    "softplus": _softplus,
}
_ROUNDING: Final = frozenset(("floor", "ceil", "round", "trunc", "fix", "floor_divide"))
_EXTREMES: Final = frozenset(("maximum", "minimum", "fmax", "fmin"))
_REDUCED: Final = frozenset(("amax", "amin", "aminmax", "max", "min"))
_RESIDUALS: Final = {"smooth_l1_loss": 1.0, "huber_loss": 1.0}
_MOST_PAIRS: Final = 4_000_000


def choices(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Choice]:
    """Choices that can be read from the arguments, taken before the operation runs (it may overwrite them)."""
    first = args[0] if args else None
    if not isinstance(first, torch.Tensor) or not first.is_floating_point():
        return []
    plain = name.rstrip("_")
    thresholds = THRESHOLDS.get(plain)
    if thresholds is not None:
        found = [(f"{plain} at {value:g}", _side(first - value)) for value in thresholds(args, kwargs)]
        return found + [(plain, _side(first - item)) for item in args[1:3] if plain == "clamp" and isinstance(item, torch.Tensor)]
    if plain in _EXTREMES:
        return [(plain, _side(first - args[1]))]
    if plain in _RESIDUALS and isinstance(args[1], torch.Tensor):
        width = float(args[3] if len(args) > 3 else kwargs.get("beta", kwargs.get("delta", _RESIDUALS[plain])))
        residual = first - args[1]
        return [(f"{plain} at {value:g}", _side(residual - value)) for value in {-width, width}]
    if plain in ("fmod", "remainder"):
        return [(plain, torch.floor(first / args[1]))]
    if plain == "div" and kwargs.get("rounding_mode"):
        return [(plain, torch.floor(first / args[1]))]
    if plain in ("grid_sampler_2d", "grid_sampler_3d"):
        return [(plain, _cells(first, args[1], bool(args[4])))]
    return _pairs(plain, args) if plain in ("_cdist_forward", "_pdist_forward") else []


def results(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> list[Choice]:
    """Choices that show in the result: integers and booleans, rounded numbers, positions of extremes, exact zeros of norms."""
    plain = name.rstrip("_")
    first = args[0] if args else None
    outputs = output if isinstance(output, list | tuple) else (output,)
    tensors = [item for item in outputs if isinstance(item, torch.Tensor)]
    numeric = any(isinstance(item, torch.Tensor) and item.is_floating_point() for item in args)
    found = [(plain, item) for item in tensors if numeric and not item.is_floating_point() and not item.is_complex()]
    if plain in _ROUNDING:
        found += [(plain, item) for item in tensors if item.is_floating_point()]
    if plain in _REDUCED and isinstance(first, torch.Tensor) and first.is_floating_point() and first.numel():
        found += [(plain, _attaining(first, item)) for item in tensors if item.is_floating_point() and not _indexed(tensors)]
    if plain in ("linalg_vector_norm", "norm", "_cdist_forward", "_pdist_forward"):
        found += [(f"{plain} of zero", item == 0) for item in tensors]
        order = args[1] if len(args) > 1 else kwargs.get("ord", kwargs.get("p", 2))
        if isinstance(first, torch.Tensor) and isinstance(order, int | float) and order != 2 and not plain.startswith("_"):
            found.append((plain, torch.sign(first) if order in (0, 1) else _side(first.abs() - first.abs().max())))
    return found


def _side(difference: torch.Tensor) -> torch.Tensor:
    return torch.sign(difference).to(torch.int8)


def _indexed(tensors: Sequence[torch.Tensor]) -> bool:
    return any(item.dtype == torch.int64 for item in tensors)


def _attaining(values: torch.Tensor, extreme: torch.Tensor) -> torch.Tensor:
    """Where a reduced extreme is attained; reduced axes are matched by their sizes."""
    shape, rest = [], list(extreme.shape)
    for size in values.shape:
        keep = bool(rest) and rest[0] == size
        if rest and (keep or rest[0] == 1):
            rest.pop(0)
        shape.append(size if keep else 1)
    if rest or extreme.numel() != torch.Size(shape).numel():
        return values == values.max()
    return values == extreme.reshape(shape)


def _cells(image: torch.Tensor, grid: torch.Tensor, corners: bool) -> torch.Tensor:
    sizes = torch.tensor(list(image.shape[2:])[::-1], dtype=grid.dtype)
    place = (grid + 1) / 2 * (sizes - 1) if corners else ((grid + 1) * sizes - 1) / 2
    return torch.floor(place)


def _pairs(name: str, args: Sequence[Any]) -> list[Choice]:
    order = args[1] if name == "_pdist_forward" else args[2]
    if order == 2 or name == "_pdist_forward":
        return []
    difference = args[0].unsqueeze(-2) - args[1].unsqueeze(-3)
    return [(f"{name} with p = {order:g}", _side(difference))] if difference.numel() <= _MOST_PAIRS else []
