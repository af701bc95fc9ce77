"""Weight law: mean square and kurtosis of every weight, as the initialisation drew it."""

import math

import torch
from torch import nn

from gradcheck_suite.captures.weight_law import WeightLaw, WeightSample
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.probes.execution import failures, realise
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.subject import Setup, Subject

_KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def weight_law(subject: Subject, budget: Budget, seed: int) -> WeightLaw:
    """The weights (see ``captures.weight_law.WeightLaw``) of dense and convolutional layers.

    Raises:
        NotApplicable: the model is a given instance, whose weights may be trained, or has no such layer.
        SubjectError: the subject failed.
    """
    if not subject.fresh:
        raise NotApplicable("the model is an instance: its initialisation cannot be drawn again")
    setup = realise(subject, seed)
    with preserved(setup.model), torch.no_grad():
        order = _order(setup)
    if not order:
        raise NotApplicable("the model has no dense or convolutional layer")
    return WeightLaw(weights=tuple(_sample(path, module, path == order[-1][0]) for path, module in order), alpha=budget.alpha)


def _order(setup: Setup) -> list[tuple[str, nn.Module]]:
    found: dict[str, nn.Module] = {}
    handles = [module.register_forward_pre_hook(lambda m, _, path=path: found.setdefault(path, m) and None)
               for path, module in setup.model.named_modules() if isinstance(module, _KINDS) and _trained(module)]
    try:
        with failures("forward"):
            setup.model(*setup.batch.args, **setup.batch.kwargs)
    finally:
        for handle in handles:
            handle.remove()
    return list(found.items())


def _trained(module: nn.Module) -> bool:
    return bool(getattr(getattr(module, "weight", None), "requires_grad", False))


def _sample(path: str, module: nn.Module, last: bool) -> WeightSample:
    weight = module.weight
    assert isinstance(weight, torch.Tensor)
    values = weight.detach().double()
    field = math.prod(values.shape[2:])
    square = values.square().mean()
    kurtosis = float(values.pow(4).mean() / square.square()) if float(square) > 0 else math.nan
    return WeightSample(module=path, name="weight", kind=type(module).__name__, size=values.numel(), fan_in=values.shape[1] * field,
                        fan_out=values.shape[0] * field, mean_square=float(square), kurtosis=kurtosis, last=last,
                        groups=int(getattr(module, "groups", 1)))
