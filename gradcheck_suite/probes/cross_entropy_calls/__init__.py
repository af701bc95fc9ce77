"""Cross-entropy calls: what gradient every cross entropy gives its logits."""

import math

import torch

from gradcheck_suite.captures.codec import frozen
from gradcheck_suite.captures.cross_entropy_calls import CrossEntropyCalls
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.probes.cross_entropy_calls.finding import CrossEntropy, cross_entropies, guarded
from gradcheck_suite.probes.execution import realise
from gradcheck_suite.subject import Subject

_INTEGERS = ("classes", "rows")
_RIGHT = 64.0  # units in the last place: no more than rounding


def cross_entropy_calls(subject: Subject, budget: Budget, seed: int) -> CrossEntropyCalls:
    """Run each cross entropy by itself (see ``captures.cross_entropy_calls``): the first in each module, and the loss.

    Seen are PyTorch's ``cross_entropy`` in the model and in the loss, and custom functions and whole losses whose values are a cross
    entropy of logits and target times a constant, here and at random points. A whole loss that calls PyTorch's is left out where its
    gradient is right, for then it is the same again. Declared mismatches are left out.

    Raises:
        NotApplicable: no cross entropy ran on finite logits and gave them a finite gradient.
        SubjectError: the subject failed.
    """
    setup = realise(subject, seed)
    with torch.enable_grad():
        found = [one for one in cross_entropies(setup, seed) if not {one.path or "", one.function} & set(setup.intended)]
        with guarded(setup):
            rows = [(one, row) for one in found if (row := _compared(one, derive(seed, one.path, one.function))) is not None]
    told = any(one.plain and one.path is None for one, _ in rows)
    rows = [(one, row) for one, row in rows if not (told and one.whole and max(row["residual"], row["row_sum"]) <= _RIGHT * row["epsilon"])]
    if not rows:
        raise NotApplicable("no cross entropy of finite logits with a finite gradient ran")
    kept = [one for one, _ in rows]
    columns = {name: frozen([row[name] for _, row in rows], "<i8" if name in _INTEGERS else "<f8") for name in rows[0][1]}
    return CrossEntropyCalls(
        paths=tuple(one.path for one in kept), functions=tuple(one.function for one in kept), sources=tuple(one.source for one in kept),
        plain=frozen([one.plain for one in kept], "|b1"), weighted=frozen([one.weighted for one in kept], "|b1"), **columns,
    )


def _compared(one: CrossEntropy, seed: int) -> dict[str, float] | None:
    """The gradient against what it must be; ``None`` where either is not finite or cannot be had alone."""
    leaf, known = one.logits.clone().requires_grad_(), one.meaning
    try:
        value = one.run(leaf)
        generator = torch.Generator().manual_seed(seed)
        cotangent = torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value)
        (found,) = torch.autograd.grad(value, leaf, cotangent)
    except Exception:
        return None
    if not all(bool(torch.isfinite(tensor).all()) for tensor in (value, leaf, found)):
        return None
    gradient = known.rows(found).double()
    expected, sizes, lengths = known.gradient(leaf.detach(), cotangent)
    scale, square = float(sizes.norm()) or 1.0, float(expected.square().sum())
    real = lengths > 0
    longest = float((gradient.norm(dim=-1)[real] / lengths[real]).max()) if bool(real.any()) else 0.0
    return {
        "classes": gradient.shape[-1], "rows": len(gradient), "residual": float((gradient - expected).norm()) / scale,
        "row_sum": float(gradient.sum(-1).norm()) / (float(sizes.sum(-1).norm()) or 1.0),
        "length": longest if bool((known.weights >= 0).all()) else math.nan,
        "ratio": float((gradient * expected).sum()) / square if square > 0 else math.nan, "epsilon": torch.finfo(leaf.dtype).eps,
    }
