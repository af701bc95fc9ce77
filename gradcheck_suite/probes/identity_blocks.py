"""Identity blocks: residual branches that are switched off at the start must hand the gradient on untouched."""

from typing import Any

import torch
from torch import nn

from gradcheck_suite.captures.codec import frozen
from gradcheck_suite.captures.identity_blocks import IdentityBlocks
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.probes.execution import failures, floating, hookable, realise
from gradcheck_suite.probes.gradient_rows import differing_bits, norm
from gradcheck_suite.probes.nested import replaced
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.subject import Setup, Subject

Call = tuple[tuple[Any, ...], dict[str, Any], int]
"""Arguments, keyword arguments, and which of the floating ones is the block's input."""


def identity_blocks(subject: Subject, budget: Budget, seed: int) -> IdentityBlocks:
    """Run each such block by itself (see ``captures.identity_blocks``).

    Raises:
        NotApplicable: no block is the identity because of a zero weight.
        SubjectError: the subject failed.
    """
    setup = realise(subject, seed)
    with preserved(setup.model), torch.enable_grad():
        with failures("a block alone"):
            found = {path: call for path, call in _identities(setup).items() if _elsewhere(setup.model, path, call, derive(seed, path))}
        if not found:
            raise NotApplicable("no block is the identity because a weight of its branch is zero")
        rows = []
        with failures("a block alone"):
            for path, call in found.items():
                with preserved(setup.model):
                    rows.append(_alone(setup.model.get_submodule(path), call, derive(seed, path)))
    return IdentityBlocks(
        paths=tuple(found), zeros=tuple(_zero(setup.model.get_submodule(path)) for path in found),
        entries=frozen([entries for entries, _, _ in rows], "<i8"), bits=frozen([bits for _, bits, _ in rows], "<i8"),
        norms=frozen([ratio for _, _, ratio in rows]),
    )


def _zero(module: nn.Module) -> str:
    """Name of a trained weight of the module that is zero throughout and no bias, else empty."""
    return next((name for name, p in module.named_parameters() if p.requires_grad and "bias" not in name and not p.detach().any()), "")


def _identities(setup: Setup) -> dict[str, Call]:
    """The innermost calls of modules with children whose output is one of the arguments bit for bit."""
    found: dict[str, Call] = {}
    handles = []
    for path, module in hookable(setup.model):
        if not list(module.children()) or not _zero(module):
            continue

        def keep(module: nn.Module, args: Any, kwargs: Any, output: Any, path: str = path) -> None:
            made = floating(output)
            same = [index for index, x in enumerate(floating((args, kwargs))) if len(made) == 1 and _copied(x, made[0])]
            if len(same) == 1:
                found.setdefault(path, (args, kwargs, same[0]))

        handles.append(module.register_forward_hook(keep, with_kwargs=True))
    try:
        with failures("forward"), preserved(setup.model):
            setup.model(*setup.batch.args, **setup.batch.kwargs)
    finally:
        for handle in handles:
            handle.remove()
    return {path: call for path, call in found.items() if not any(_inside(other, path) for other in found)}


def _copied(x: torch.Tensor, output: torch.Tensor) -> bool:
    return x is not output and x.shape == output.shape and torch.equal(x, output) and bool(x.any())


def _inside(path: str, outer: str) -> bool:
    return path != outer and path.startswith(f"{outer}." if outer else "")


def _elsewhere(model: nn.Module, path: str, call: Call, seed: int) -> bool:
    """Whether the block is the identity at another input too: a normalisation gives unit vectors back, and is none.

    The other input has the same signs and zeros, so that a rectifier behind the sum is no difference.
    """
    values = [tensor.detach() for tensor in floating(call[:2])]
    given = values[call[2]]
    factors = 1.0 + torch.rand(given.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(given)
    values[call[2]] = given * factors
    args, kwargs = replaced(call[:2], values)
    with preserved(model), torch.no_grad():
        return torch.equal(floating(model.get_submodule(path)(*args, **kwargs))[0], values[call[2]])


def _alone(module: nn.Module, call: Call, seed: int) -> tuple[int, int, float]:
    values = [tensor.detach() for tensor in floating(call[:2])]
    leaf = values[call[2]].clone().requires_grad_()
    args, kwargs = replaced(call[:2], [leaf if index == call[2] else value for index, value in enumerate(values)])
    (output,) = floating(module(*args, **kwargs))
    cotangent = torch.randn(output.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(output)
    (gradient,) = torch.autograd.grad(output, leaf, cotangent)
    moves = leaf.detach() != 0  # at zero a rectifier after the sum is on its kink, and its slope there a convention
    gradient, cotangent = gradient[moves], cotangent[moves]
    return leaf.numel(), differing_bits(gradient, cotangent), norm(gradient) / norm(cotangent)
