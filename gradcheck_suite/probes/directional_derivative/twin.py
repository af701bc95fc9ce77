"""The float64 twin of a realisation, and the arithmetic it runs under."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from gradcheck_suite.core.errors import NotApplicable, SubjectError, TargetError
from gradcheck_suite.probes.directional_derivative.lifting import WIDER
from gradcheck_suite.probes.directional_derivative.trees import Tree
from gradcheck_suite.probes.execution import failures, forward
from gradcheck_suite.probes.state import preserved, process_preserved
from gradcheck_suite.subject import Batch, Setup, Subject


@contextmanager
def realised(subject: Subject, seed: int, native: bool = False) -> Iterator[tuple[Setup, bool]]:
    """The subject's realisation in float64, and whether it had to be converted; as it was made, where ``native``.

    A subject that builds afresh is built while float64 is the default dtype, so that tensors its forward pass makes are float64
    too (a float32 mask beside float64 queries makes fused attention silently wrong); what is left in another precision is
    then converted. An instance is converted in place and gets every bit back. On the way out also the process-wide state.

    Raises:
        SubjectError: the subject could not be built.
    """
    usual = torch.get_default_dtype()
    with process_preserved(), ExitStack() as stack:
        setup = _built(subject, seed, (usual,) if native or not subject.fresh else (torch.float64, usual))
        torch.set_default_dtype(usual if native else torch.float64)
        modules = [part for part in (setup.model, setup.loss) if isinstance(part, nn.Module)]
        if not subject.fresh:
            for module in modules:
                stack.enter_context(preserved(module, process=False))
        changed = [] if native else [widened(module, apart=not subject.fresh) for module in modules]
        batch = Batch(*(_copied(part, native) for part in (setup.batch.args, dict(setup.batch.kwargs), setup.batch.targets)))
        stack.enter_context(_plain_paths())
        yield replace(setup, batch=batch), any(changed)


@contextmanager
def realised_in_float64(subject: Subject, seed: int) -> Iterator[Setup]:
    """``realised`` for probes that have no use for another precision.

    Raises:
        NotApplicable: what is done with the realisation fails, and the subject runs in its own precision.
        SubjectError: it does not run there either.
    """
    try:
        with realised(subject, seed) as (setup, _):
            yield setup
    except SubjectError as failure:
        with realised(subject, seed, native=True) as (own, _), suppress(SubjectError):
            forward(own)
            raise NotApplicable(f"the model does not run in float64: {str(failure)[:160]}") from None
        raise


def _built(subject: Subject, seed: int, dtypes: tuple[torch.dtype, ...]) -> Setup:
    """The subject, built under the first default dtype that it can be built under."""
    for dtype in dtypes[:-1]:
        torch.set_default_dtype(dtype)
        with suppress(SubjectError, TargetError), failures("build"):
            return subject.setup(seed)
    torch.set_default_dtype(dtypes[-1])
    with failures("build"):
        return subject.setup(seed)


def widened(root: nn.Module, apart: bool) -> bool:
    """Convert every tensor the modules hold to double precision, in place; ``apart`` gives each one memory of its own.

    Returns whether anything was in another precision.
    """
    seen: set[int] = set()
    changed = False
    for module in root.modules():
        held = [*module._parameters.values(), *module._buffers.values(), *vars(module).values()]
        for tensor in held:
            if not isinstance(tensor, torch.Tensor) or id(tensor) in seen or not tensor.is_leaf:
                continue
            seen.add(id(tensor))
            wider = WIDER.get(tensor.dtype)
            if wider is not None:
                changed = True
                tensor.grad = None
                tensor.data = tensor.data.to(wider)
            elif apart and tensor.layout == torch.strided:
                tensor.grad = None
                tensor.data = tensor.data.clone()
    return changed


def _copied(value: Any, native: bool) -> Any:
    """The batch with tensors of its own, in double precision unless ``native``."""
    tree = Tree(value)
    leaves = []
    for leaf in tree.leaves:
        wider = leaf.dtype if native else WIDER.get(leaf.dtype, leaf.dtype)
        leaves.append(leaf.detach().to(wider, copy=True).requires_grad_(leaf.requires_grad))
    return tree.build(leaves)


@contextmanager
def _plain_paths() -> Iterator[None]:
    """Fused inference paths off, compiled regions eager, distributions lenient: the path that training takes, run as written."""
    fast = torch.backends.mha.get_fastpath_enabled()
    validate = torch.distributions.Distribution._validate_args
    with ExitStack() as stack:
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
        stack.callback(torch.distributions.Distribution.set_default_validate_args, validate)
        torch.backends.mha.set_fastpath_enabled(False)
        torch.distributions.Distribution.set_default_validate_args(False)
        if "torch._dynamo" in sys.modules:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield
