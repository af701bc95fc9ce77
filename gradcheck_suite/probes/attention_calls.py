"""Attention calls: exact identities of attention, and what its masks let through."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from gradcheck_suite.captures.attention_calls import AttentionCalls
from gradcheck_suite.captures.codec import frozen
from gradcheck_suite.core.architecture import Architecture
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.probes.execution import failures, floating, realise
from gradcheck_suite.probes.float64 import in_float64
from gradcheck_suite.probes.gradient_rows import norm
from gradcheck_suite.probes.nested import mapped, replaced
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.subject import Setup, Subject

Tensor = torch.Tensor
_NAN = float("nan")
_INTEGERS = ("positions", "forbidden", "leaks")


@dataclass(slots=True)
class _Call:
    """A call to repeat: its first floating argument is the sequence (queries), ``causal`` whether it was declared so."""

    module: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    causal: bool

    @property
    def attention(self) -> bool:
        return isinstance(self.module, nn.MultiheadAttention)

    @property
    def sequence(self) -> Tensor:
        """(batch, time, features), whatever the layout."""
        x = floating((self.args, self.kwargs))[0]
        return x if getattr(self.module, "batch_first", True) else x.transpose(0, 1)

    @property
    def mask(self) -> Tensor | None:
        """Which key (columns) a query (rows) must not see, where all heads and samples agree on it."""
        length = self.sequence.shape[1]
        mask = self.kwargs.get("attn_mask", self.args[5] if len(self.args) > 5 else None)
        if self.causal or (mask is None and self.kwargs.get("is_causal", False)):
            return torch.ones(length, length, dtype=torch.bool).triu(1)
        if not isinstance(mask, Tensor) or mask.dim() != 2 or mask.shape != (length, length):
            return None
        return mask.cpu() if mask.dtype == torch.bool else torch.isneginf(mask).cpu()


def attention_calls(subject: Subject, budget: Budget, seed: int) -> AttentionCalls:
    """Run each attention by itself (see ``captures.attention_calls``).

    Raises:
        NotApplicable: no multi-head attention and no causal layer ran, or the model does not run in float64.
        SubjectError: the subject failed.
    """
    setup = realise(subject, seed)
    with in_float64(setup) as wide, sdpa_kernel([SDPBackend.MATH]):
        found = _watched(wide, _causal(subject.architecture))
        if not found:
            raise NotApplicable("no multi-head attention ran")
        rows = []
        with failures("attention alone"):
            for path, call in found.items():
                with preserved(wide.model):
                    rows.append({**_biases(call, derive(seed, path)), **_leaks(call, derive(seed, path))})
    columns = {name: frozen([row[name] for row in rows], "<i8" if name in _INTEGERS else "<f8") for name in rows[0]}
    return AttentionCalls(paths=tuple(found), kinds=tuple(type(call.module).__name__ for call in found.values()), **columns)


def _causal(architecture: Architecture | None) -> set[str]:
    """Paths of layers that were declared causal."""
    layers = () if architecture is None else architecture.walk()
    return {path for path, layer in layers if layer.option("causal", False)}


def _watched(setup: Setup, causal: set[str]) -> dict[str, _Call]:
    found: dict[str, _Call] = {}
    handles = []
    for path, module in setup.model.named_modules():
        if not isinstance(module, nn.MultiheadAttention) and path not in causal:
            continue

        def keep(module: nn.Module, args: Any, kwargs: Any, output: Any, path: str = path) -> None:
            if path not in found and floating((args, kwargs))[0].dim() == 3:
                args, kwargs = mapped((args, kwargs), lambda t: t.detach().double() if t.is_floating_point() else t)
                found[path] = _Call(module, args, kwargs, path in causal)

        handles.append(module.register_forward_hook(keep, with_kwargs=True))
    try:
        with failures("forward"), preserved(setup.model):
            setup.model(*setup.batch.args, **setup.batch.kwargs)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _run(call: _Call, sequence: Tensor | None = None) -> Tensor:
    """The output as (batch, time, features); with ``sequence`` in place of every argument that is the call's sequence."""
    args, kwargs = call.args, call.kwargs
    if sequence is not None:
        first = floating((args, kwargs))[0]
        placed = sequence if getattr(call.module, "batch_first", True) else sequence.transpose(0, 1)
        args, kwargs = replaced((args, kwargs), [placed if t is first or torch.equal(t, first) else t for t in floating((args, kwargs))])
    output = floating(call.module(*args, **kwargs))[0]
    return output if getattr(call.module, "batch_first", True) else output.transpose(0, 1)


def _biases(call: _Call, seed: int) -> dict[str, float]:
    module = call.module
    plain = call.attention and module.in_proj_bias is not None and module.bias_k is None and not module.add_zero_attn
    if not plain or not module.in_proj_bias.requires_grad:
        return {"key_bias": _NAN, "value_sum": _NAN}
    output = _run(call)
    cotangent = torch.randn(output.shape, generator=torch.Generator().manual_seed(seed), dtype=output.dtype)
    of_in, of_out = torch.autograd.grad(output, [module.in_proj_bias, module.out_proj.bias], cotangent, allow_unused=True)
    if of_in is None or of_out is None or norm(of_in) == 0:
        return {"key_bias": _NAN, "value_sum": _NAN}
    width, projection = module.embed_dim, module.out_proj.weight.detach()
    # cotangents cancel in the biases' sums: rounding is in proportion to what is summed, not to what is left
    residual, scale = norm(of_in[2 * width :] - projection.T @ of_out), norm(projection.abs().T @ cotangent.abs().sum((0, 1)))
    dropped = module.dropout > 0 and module.training
    return {"key_bias": norm(of_in[width : 2 * width]) / norm(of_in), "value_sum": _NAN if dropped or scale == 0 else residual / scale}


def _leaks(call: _Call, seed: int) -> dict[str, int]:
    mask, x = call.mask, call.sequence
    length = x.shape[1]
    if mask is None or not mask.any() or length > 64:
        return {"positions": length, "forbidden": 0, "leaks": 0}
    leaf = x.clone().requires_grad_()
    with preserved(call.module):
        output = _run(call, leaf)
    u = torch.randn(output.shape, generator=torch.Generator().manual_seed(seed), dtype=output.dtype)
    leaks = 0
    for position in range(length):
        (gradient,) = torch.autograd.grad(output[:, position], leaf, u[:, position], retain_graph=True)
        reached = gradient.ne(0).any(-1).any(0)
        reached[position] = False
        leaks += int((reached & mask[position]).sum())
    off_diagonal = mask & ~torch.eye(length, dtype=torch.bool)
    return {"positions": length, "forbidden": int(off_diagonal.sum()), "leaks": leaks}
