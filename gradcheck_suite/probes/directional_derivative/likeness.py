"""Likeness of calls: equal code, settings and shapes, so that one of them can stand for all.

Thirty equal layers are one question. The key holds the class, every plain setting, the shapes, dtypes, strides and gradient
needs of inputs and parameters, and the same of the inner calls; anything else a module keeps counts by identity. The whole
model is compared in place in any case, and where that disagrees the calls that were spared are examined too.
"""

import types
from collections.abc import Hashable
from typing import Any, Final

import torch
from torch import nn

from gradcheck_suite.probes.directional_derivative.interception import ENTRANCE
from gradcheck_suite.probes.directional_derivative.record import Call
from gradcheck_suite.probes.directional_derivative.units import hooked

_TABLES: Final = frozenset((
    "_parameters", "_buffers", "_modules", "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks",
    "_non_persistent_buffers_set", "_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs",
    "_is_full_backward_hook", ENTRANCE,
))
_PLAIN: Final = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size, type, types.FunctionType,
                 types.BuiltinFunctionType)


class Likeness:
    """Keys of calls; what belongs to a module alone is worked out once."""

    def __init__(self) -> None:
        self._modules: dict[int, Hashable] = {}

    def key(self, call: Call) -> Hashable:
        """Equal for calls that ask the same question."""
        inputs = tuple(_shape(leaf) for leaf in call.arguments.leaves)
        inner = tuple((self._module(i.module), tuple(_shape(x) for x in i.arguments.leaves), tuple(i.given)) for i in call.inner)
        rest = _value(call.arguments.build([None] * len(call.arguments.leaves)), 0)
        return (self._module(call.module), inputs, tuple(call.carried), call.keywords, rest, inner, call.differentiable)

    def _module(self, module: nn.Module) -> Hashable:
        known = self._modules.get(id(module))
        if known is None:
            known = self._modules[id(module)] = self._described(module)
        return known

    def _described(self, module: nn.Module) -> Hashable:
        if hooked(module):
            return id(module)
        tables = [*module._parameters.items(), *module._buffers.items()]
        tensors = tuple((name, None if t is None else (_shape(t), t.requires_grad, bool(t._backward_hooks))) for name, t in tables)
        settings = tuple((name, _value(value, 0)) for name, value in vars(module).items() if name not in _TABLES)
        inside = tuple((name, None if child is None else self._module(child)) for name, child in module._modules.items())
        return (type(module), tensors, settings, inside)


def _shape(tensor: torch.Tensor) -> Hashable:
    return (tensor.shape, tensor.dtype, tensor.stride() if tensor.layout == torch.strided else None)


def _value(value: Any, depth: int) -> Hashable:
    if isinstance(value, _PLAIN):
        return (type(value), value)
    if isinstance(value, list | tuple) and depth < 3:
        return (type(value), tuple(_value(item, depth + 1) for item in value))
    if isinstance(value, dict) and depth < 3:
        return (type(value), tuple((str(key), _value(item, depth + 1)) for key, item in value.items()))
    if isinstance(value, torch.Tensor) and not value.requires_grad:
        return (type(value), _shape(value))
    return id(value)
