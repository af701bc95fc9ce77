"""Parameters, buffers and inputs of half precision become float32.

When it helps
-------------
Where steps are smaller than half the distance to the next number: a bfloat16 weight does not move by less than 0.2 % of itself, a float32
weight by less than 3e-8. Gradients below 6e-8 and losses above 65504 do not exist in float16.

When it does not
----------------
It costs twice the memory; in practice a float32 copy of the weights for the optimiser (mixed precision) does as well. An operation that is
unstable in every format stays so.

Sources
-------
Micikevicius et al. 2018, Mixed precision training, arXiv:1710.03740, section 3.1.
"""

from dataclasses import replace

import torch

from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.remedies._batches import mapped
from gradcheck_suite.subject import Batch, Setup

_HALVES = (torch.float16, torch.bfloat16)


def float32_precision(setup: Setup) -> Setup:
    """See the file's docstring.

    Raises:
        NotApplicable: no parameter or buffer has half precision.
    """
    model, batch = setup.model, setup.batch
    if not any(tensor.dtype in _HALVES for tensor in (*model.parameters(), *model.buffers())):
        raise NotApplicable("no parameter or buffer has half precision")
    model.float()
    args = tuple(mapped(value, _widened) for value in batch.args)
    kwargs = {name: mapped(value, _widened) for name, value in batch.kwargs.items()}
    return replace(setup, batch=Batch(args, kwargs, mapped(batch.targets, _widened)))


def _widened(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype in _HALVES else tensor
