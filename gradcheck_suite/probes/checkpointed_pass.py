"""Checkpointed pass: recomputing the forward pass during the backward pass must change nothing."""

from typing import Any

import torch
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

from gradcheck_suite.captures.checkpointed_pass import CheckpointedPass
from gradcheck_suite.captures.codec import frozen
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.probes.directional_derivative.power import held
from gradcheck_suite.probes.execution import cotangents, differentiable, failures, floating, realise
from gradcheck_suite.probes.gradient_rows import differing_bits, norm
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.subject import Setup, Subject

Row = tuple[str, torch.Tensor]


def checkpointed_pass(subject: Subject, budget: Budget, seed: int) -> CheckpointedPass:
    """Two plain passes and one under ``torch.utils.checkpoint`` (see ``captures.checkpointed_pass``).

    The power iterations of spectral normalisation are held still in the backward pass: that they go on in every pass is theirs by design.

    Raises:
        NotApplicable: nothing can be differentiated, or the model cannot be recomputed (the number of saved tensors changes).
        SubjectError: the subject failed.
    """
    setup = realise(subject, seed)
    with preserved(setup.model), torch.enable_grad():
        plain, again, recomputed = (_gradients(setup, seed, recompute) for recompute in (False, False, True))
    names = [name for name, _ in plain]
    if [name for name, _ in recomputed] != names:
        raise NotApplicable("with recomputation other parameters are reached")
    pairs = [(a, b) for (_, a), (_, b) in zip(plain, recomputed, strict=True)]
    return CheckpointedPass(
        names=tuple(names), bits=frozen([differing_bits(a, b) for a, b in pairs], "<i8"),
        relative=frozen([norm(a.double() - b.double()) / (norm(a) or 1.0) for a, b in pairs]),
        repeated_bits=sum(differing_bits(a, b) for (_, a), (_, b) in zip(plain, again, strict=True)),
    )


def _gradients(setup: Setup, seed: int, recompute: bool) -> list[Row]:
    with preserved(setup.model):
        setup.model.zero_grad(set_to_none=True)
        batch, leaves = differentiable(setup.batch)
        with failures("forward"), set_checkpoint_early_stop(False):  # the stop is an exception that TorchScript does not let through
            output: Any = (checkpoint(setup.model, *batch.args, use_reentrant=False, **batch.kwargs) if recompute
                           else setup.model(*batch.args, **batch.kwargs))
        outputs = [tensor for tensor in floating(output) if tensor.requires_grad]
        if not outputs:
            raise NotApplicable("no floating output of the model depends on its inputs or parameters")
        if not any(tensor.numel() for tensor in outputs):
            raise NotApplicable("no output of the model has an entry")
        try:
            with held(setup.model):
                torch.autograd.backward(outputs, cotangents(outputs, seed))
        except torch.utils.checkpoint.CheckpointError as error:
            raise NotApplicable(f"the model cannot be recomputed: {str(error)[:120]}") from None
        rows = [(f"input[{index}]", leaf.grad) for index, leaf in enumerate(leaves) if leaf.grad is not None]
        rows += [(name, p.grad) for name, p in setup.model.named_parameters() if p.grad is not None]
        return [(name, gradient.detach().to_dense().clone()) for name, gradient in rows]
