"""Declared mismatches: the reason that the owner of a model gave for a gradient that is not the derivative."""

from collections.abc import Mapping

import torch

from gradcheck_suite.probes.graph import custom_function, nodes
from gradcheck_suite.subject import Setup


def reason(intended: Mapping[str, str], *names: str | None) -> str:
    """The reason declared for the first of these names (module paths, Functions) that has one, or ``""``."""
    return next((intended[name] for name in names if name is not None and name in intended), "")


def reason_within(setup: Setup, *outputs: torch.Tensor) -> str:
    """The reason of the first declaration that names a module of the model or a Function in the graph of the outputs, or ``""``."""
    from gradcheck_suite.probes.directional_derivative.functions import function_name  # here: its package imports this module

    if not setup.intended:
        return ""
    functions = [function_name(function) for function in map(custom_function, nodes(*outputs)) if function is not None]
    return reason(setup.intended, *(path for path, _ in setup.model.named_modules()), *functions)
