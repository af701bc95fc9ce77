"""The float64 twin of a realisation, and the arithmetic it runs under."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from gradcheck_suite.core.errors import SubjectError
from gradcheck_suite.probes.directional_derivative.lifting import WIDER
from gradcheck_suite.probes.directional_derivative.trees import Tree
from gradcheck_suite.probes.execution import failures
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.subject import Batch, Setup, Subject


@contextmanager
def float64_twin(subject: Subject, seed: int) -> Iterator[tuple[Setup, bool]]:
    """The subject's realisation in float64, and whether it had to be converted.

    A subject that builds afresh is built while float64 is the default dtype, so that tensors its forward pass makes are float64
    too (a float32 mask beside float64 queries makes fused attention silently wrong); what is left in another precision is
    then converted. An instance is converted in place and gets every bit back. On the way out also the process-wide state.

    Raises:
        SubjectError: the subject could not be built.
    """
    usual = torch.get_default_dtype()
    with preserved(nn.Module()), ExitStack() as stack:
        setup = _built(subject, seed, usual)
        if not subject.fresh:
            stack.enter_context(preserved(setup.model))
            if isinstance(setup.loss, nn.Module):
                stack.enter_context(preserved(setup.loss))
        changed = [widened(module, apart=not subject.fresh) for module in (setup.model, setup.loss) if isinstance(module, nn.Module)]
        batch = Batch(_cast(setup.batch.args), _cast(dict(setup.batch.kwargs)), _cast(setup.batch.targets))
        stack.enter_context(_plain_paths())
        yield replace(setup, batch=batch), any(changed)


def _built(subject: Subject, seed: int, usual: torch.dtype) -> Setup:
    try:
        torch.set_default_dtype(torch.float64 if subject.fresh else usual)
        with failures("build"):
            return subject.setup(seed)
    except SubjectError:
        if not subject.fresh:
            raise
        torch.set_default_dtype(usual)
        with failures("build"):
            return subject.setup(seed)
    finally:
        torch.set_default_dtype(torch.float64)


def widened(root: nn.Module, apart: bool) -> bool:
    """Convert every tensor the modules hold to double precision, in place; ``apart`` gives each one memory of its own.

    Returns whether anything was in another precision.
    """
    seen: set[int] = set()
    changed = False
    for module in root.modules():
        held = [*module.parameters(recurse=False), *module.buffers(recurse=False), *vars(module).values()]
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


def _cast(value: Any) -> Any:
    tree = Tree(value)
    leaves = []
    for leaf in tree.leaves:
        wide = leaf.detach().to(WIDER.get(leaf.dtype, leaf.dtype))
        leaves.append(wide.requires_grad_(leaf.requires_grad))
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
