"""The model itself in another precision for the time of an experiment: float64, so that kinks that rounding flips blur no identity."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from gradcheck_suite.core.errors import NotApplicable, SubjectError
from gradcheck_suite.probes.execution import failures, floating, forward
from gradcheck_suite.probes.nested import mapped
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.subject import Batch, Setup


@contextmanager
def in_float64(setup: Setup, *, evaluation: bool = False) -> Iterator[Setup]:
    """The same model with parameters, buffers and batch in float64, in evaluation mode on demand; all is put back at the end.

    Raises:
        NotApplicable: model or loss do not run in float64, or the model does not give numbers in float64; or its backward pass fails in
            evaluation mode, which is not its own.
    """
    with _in_precision(setup, torch.float64, evaluation) as wide:
        yield wide


@contextmanager
def in_float32(setup: Setup, *, evaluation: bool = False) -> Iterator[Setup]:
    """The same for float32.

    Raises:
        NotApplicable: the model does not run in float32, or does not give float32.
    """
    with _in_precision(setup, torch.float32, evaluation) as narrow:
        yield narrow


@contextmanager
def _in_precision(setup: Setup, dtype: torch.dtype, evaluation: bool) -> Iterator[Setup]:
    name, trained = str(dtype).removeprefix("torch."), evaluation and setup.model.training
    with preserved(setup.model), torch.enable_grad():
        torch.set_default_dtype(dtype)
        setup.model.double() if dtype == torch.float64 else setup.model.float()

        def cast(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.to(dtype) if tensor.is_floating_point() else tensor

        args, kwargs = mapped(tuple(setup.batch.args), cast), mapped(dict(setup.batch.kwargs), cast)
        changed = replace(setup, batch=Batch(args, kwargs, mapped(setup.batch.targets, cast)))
        try:
            if evaluation:
                with failures("forward"):  # a model may do more than to set flags
                    setup.model.eval()
            with preserved(setup.model):
                output = forward(changed)
        except SubjectError as failure:
            raise NotApplicable(f"the model does not run in {name}: {str(failure)[:120]}") from None
        other = {str(tensor.dtype).removeprefix("torch.") for tensor in floating(output)} - {name, str(dtype.to_complex())[6:]}
        if other:
            raise NotApplicable(f"the model gives {', '.join(sorted(other))} although its parameters are {name}")
        if any(bool(torch.isnan(tensor).any()) for tensor in floating(output)):
            raise NotApplicable(f"the model's outputs are NaN in {name}")
        try:
            yield changed
        except SubjectError as failure:
            if trained and failure.stage == "backward":
                raise NotApplicable(f"the model cannot be differentiated in evaluation mode: {str(failure)[:160]}") from None
            if failure.stage == "loss":
                raise NotApplicable(f"the loss does not run in {name}: {str(failure)[:120]}") from None
            raise
