"""Probes: the experiments, and the only place that runs a model.

A probe is a function ``(setup_of: Subject, budget: Budget, seed: int) -> Capture`` in the module or package that bears its
name: ``probes/backward_pass.py`` defines ``backward_pass``. Properties ask for it by that name. A probe raises
``NotApplicable`` where the subject does not allow the experiment and ``SubjectError`` where the subject itself fails.
"""

import functools
import importlib
from collections.abc import Callable
from typing import Any

from gradcheck_suite.core.budget import Budget
from gradcheck_suite.subject import Subject

Probe = Callable[[Subject, Budget, int], Any]


def probe(name: str) -> Probe:
    """The probe of that name. It is run again, leniently, where the model failed by what stops only experiments (see ``leniency``).

    Raises:
        LookupError: there is none.
    """
    path = f"{__name__}.{name}"
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name != path:
            raise
        raise LookupError(f"no probe is called {name!r}") from None
    return _patient(getattr(module, name))


def _patient(experiment: Probe) -> Probe:
    @functools.wraps(experiment)
    def run(subject: Subject, budget: Budget, seed: int) -> Any:
        from gradcheck_suite.probes.leniency import REFUSALS, lenient

        try:
            return experiment(subject, budget, seed)
        except Exception as failure:  # a checkpoint lets it out as it is
            if not any(text in str(failure) for text in REFUSALS):
                raise
            first = failure
        try:
            with lenient():
                return experiment(subject, budget, seed)
        except Exception as failure:
            raise (first if any(text in str(failure) for text in REFUSALS) else failure) from None

    return run
