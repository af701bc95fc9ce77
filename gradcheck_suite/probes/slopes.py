"""Local slopes of elementwise activations, measured by differentiating the activation itself."""

import torch
from torch.autograd.graph import saved_tensors_hooks

from gradcheck_suite.probes.leaves import Apply, LeafCall

_NOT_ACTIVATIONS = {"Identity", "identity", "Flatten", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout"}
_GRID = 4001
_REACH = 40.0
_GROWTH = 1.2


def relative_slopes(call: LeafCall) -> torch.Tensor | None:
    """|φ'(x)|/sup|φ'| at every entry of the call's input (float64, the input's shape), ``None`` where the call is no activation.

    A layer is taken for an elementwise activation where it keeps the shape, has no buffer and no weight but PReLU's, and its Jacobian
    is diagonal: the gradient of <u, φ(x)> is u times that of Σφ(x), for a random u. The supremum is the largest slope seen on
    ``[-40, 40]`` or in the input; in the input alone where the slope grows without bound, as that of a square does.
    """
    if call.apply is None or len(call.inputs) != 1 or len(call.outputs) != 1 or call.kind in _NOT_ACTIVATIONS:
        return None
    module = call.module
    has_weights = module is not None and any(True for _ in module.parameters())
    if (has_weights and call.kind != "PReLU") or (module is not None and any(True for _ in module.buffers())):
        return None
    x = call.inputs[0].detach()
    if x.shape != call.outputs[0].shape or x.numel() == 0 or x.is_complex():
        return None
    with torch.enable_grad(), torch.random.fork_rng(devices=[]), saved_tensors_hooks(_as_it_is, _as_it_is):
        slopes = _diagonal(call.apply, x)
        if slopes is None:
            return None
        largest = max(float(slopes.nan_to_num().max()), _largest_on_grid(call.apply, x) if not has_weights else 0.0)
    return slopes / largest if largest > 0 else slopes


def _as_it_is(tensor: torch.Tensor) -> torch.Tensor:
    """Keeps what is computed here out of the hooks of a checkpointed region that the call may stand in."""
    return tensor


def _diagonal(apply: Apply, x: torch.Tensor) -> torch.Tensor | None:
    """The diagonal of the Jacobian as absolute values in float64, ``None`` where it has other entries."""
    leaf = x.clone().requires_grad_()
    try:
        output = apply(leaf.clone())
    except Exception:
        return None  # a layer that does not take a tensor of this shape is not elementwise
    if not isinstance(output, torch.Tensor) or output.shape != x.shape or not output.requires_grad:
        return None
    (plain,) = torch.autograd.grad(output, leaf, torch.ones_like(output), retain_graph=True)
    u = torch.empty_like(output).uniform_(0.5, 1.5)
    (weighted,) = torch.autograd.grad(output, leaf, u)
    tolerance = 16 * torch.finfo(x.dtype).eps * weighted.abs()
    off = (weighted - u * plain).abs() > tolerance
    return None if bool(off.any()) else plain.double().abs()


def _largest_on_grid(apply: Apply, like: torch.Tensor) -> float:
    grid = torch.linspace(-_REACH, _REACH, _GRID, dtype=torch.float64).to(like.dtype).to(like.device)
    slopes = _diagonal(apply, grid)
    if slopes is None:
        return 0.0
    slopes = slopes.nan_to_num()
    largest, nearer = float(slopes.max()), float(slopes[grid.abs() <= _REACH / 2].max())
    return largest if largest <= _GROWTH * nearer else 0.0
