"""The model itself in float64 for the time of an experiment, so that identities are not blurred by kinks that rounding flips."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from gradcheck_suite.core.errors import NotApplicable, SubjectError
from gradcheck_suite.probes.execution import floating, forward
from gradcheck_suite.probes.nested import mapped
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.subject import Batch, Setup


@contextmanager
def in_float64(setup: Setup, *, evaluation: bool = False) -> Iterator[Setup]:
    """The same model with parameters, buffers and batch in float64, in evaluation mode on demand; all is put back at the end.

    Raises:
        NotApplicable: the model does not run in float64, or does not give float64.
    """
    with preserved(setup.model), torch.enable_grad():
        torch.set_default_dtype(torch.float64)
        setup.model.double()
        if evaluation:
            setup.model.eval()
        args, kwargs = mapped(tuple(setup.batch.args), _double), mapped(dict(setup.batch.kwargs), _double)
        wide = replace(setup, batch=Batch(args, kwargs, mapped(setup.batch.targets, _double)))
        try:
            with preserved(setup.model):
                output = forward(wide)
        except SubjectError as failure:
            raise NotApplicable(f"the model does not run in float64: {str(failure)[:120]}") from None
        narrow = {str(tensor.dtype).removeprefix("torch.") for tensor in floating(output)} - {"float64", "complex128"}
        if narrow:
            raise NotApplicable(f"the model gives {', '.join(sorted(narrow))} although its parameters are float64")
        yield wide


def _double(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor
