"""Where modules stand in a model: layers in the order in which they run, as far as that can be known without running them."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import torch
from torch import nn

from gradcheck_suite.core.errors import NotApplicable

Place = tuple[str, nn.Module]

CONVOLUTIONS: Final = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
WEIGHTED: Final = (nn.Linear, *CONVOLUTIONS)
SATURATING: Final = (nn.Sigmoid, nn.Tanh, nn.Hardsigmoid, nn.Hardtanh, nn.Softsign)
RECTIFIERS: Final = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU)
ACTIVATIONS: Final = (*SATURATING, *RECTIFIERS, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Hardswish)
_DROPOUTS: Final = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)


def saturates(module: nn.Module) -> bool:
    """Whether a module is an activation that is flat on both sides (``ReLU6``, a ``Hardtanh`` to torch, is a rectifier)."""
    return isinstance(module, SATURATING) and not isinstance(module, nn.ReLU6)


def replaced(model: nn.Module, path: str, module: nn.Module) -> None:
    """Put a module in the place of the one at ``path``, in the same mode.

    Raises:
        NotApplicable: the place is the model itself.
    """
    if not path:
        raise NotApplicable("the model itself would have to be replaced")
    module.train(model.get_submodule(path).training)
    model.set_submodule(path, module)


def rows(model: nn.Module) -> list[list[Place]]:
    """Rows of modules that run one behind the other: sequences, inner ones unrolled, and lists of modules."""
    found: list[list[Place]] = []
    inside: set[int] = set()
    for path, module in model.named_modules():
        if id(module) in inside:
            continue
        if _is_sequence(module):
            inside |= {id(one) for one in module.modules() if _is_sequence(one)}
            found.append(list(_unrolled(path, module)))
        elif isinstance(module, nn.ModuleList):
            found.append([(_joined(path, name), child) for name, child in module.named_children()])
    return found


def activated(model: nn.Module) -> list[tuple[Place, Place]]:
    """Layers with weights, each with the activation right behind it in its row.

    Raises:
        NotApplicable: there are none.
    """
    found = [(row[index], row[index + 1]) for row in rows(model) for index in range(len(row) - 1)
             if isinstance(row[index][1], WEIGHTED) and isinstance(row[index + 1][1], ACTIVATIONS)]
    if not found:
        raise NotApplicable("no dense or convolutional layer has an activation module right behind it in a sequence")
    return found


def fed(model: nn.Module) -> list[tuple[Place, ...]]:
    """Activations, each with the layer with weights behind it in its row and the dropout between them."""
    found = []
    for row in rows(model):
        for start, (_, module) in enumerate(row):
            end = start + 1
            while end < len(row) and isinstance(row[end][1], _DROPOUTS):
                end += 1
            if isinstance(module, ACTIVATIONS) and end < len(row) and isinstance(row[end][1], WEIGHTED):
                found.append(tuple(row[start : end + 1]))
    return found


def keeps_shape(module: nn.Module) -> bool:
    """Whether the output of a layer with weights has the shape of its input."""
    if isinstance(module, nn.Linear):
        return module.in_features == module.out_features
    if not isinstance(module, CONVOLUTIONS) or module.in_channels != module.out_channels:
        return False
    sizes = zip(module.kernel_size, module.dilation, strict=True)
    same = module.padding == "same" or tuple(2 * p for p in _numbers(module.padding)) == tuple(d * (k - 1) for k, d in sizes)
    return same and all(step == 1 for step in module.stride)


def width(module: nn.Module) -> int:
    """Number of output features or channels of a layer with weights."""
    return int(module.out_features if isinstance(module, nn.Linear) else module.out_channels)  # type: ignore[arg-type]


def like(module: nn.Module, layer: nn.Module) -> nn.Module:
    """A new module on the device and in the dtype of a layer's weight."""
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    return module.to(device=weight.device, dtype=weight.dtype)


def places(model: nn.Module) -> list[Place]:
    """Every place that a module has in the model, a module with several places several times."""
    return list(model.named_modules(remove_duplicate=False))


def last(model: nn.Module) -> Place:
    """The module without children that was registered last: the end of the model, where modules are registered in order."""
    path, module = "", model
    while children := list(module.named_children()):
        name, module = children[-1]
        path = _joined(path, name)
    return path, module


def ends_of_rows(model: nn.Module) -> set[str]:
    """Paths of the last modules of all rows."""
    return {row[-1][0] for row in rows(model) if row}


def _is_sequence(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def _unrolled(path: str, sequence: nn.Module) -> Iterator[Place]:
    for name, child in sequence._modules.items():
        if child is not None and _is_sequence(child):
            yield from _unrolled(_joined(path, name), child)
        elif child is not None:
            yield _joined(path, name), child


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _numbers(padding: Any) -> Sequence[int]:
    return () if isinstance(padding, str) else padding
