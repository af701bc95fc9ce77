"""Property-based diagnostics for neural-network gradients. Importing this package costs nothing: names resolve on first use."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradcheck_suite.api import assert_gradients, audit, check_gradient, parametrize
    from gradcheck_suite.core.architecture import Architecture, layer
    from gradcheck_suite.core.evidence import Evidence, Level, Verdict, Where
    from gradcheck_suite.core.finding import Finding
    from gradcheck_suite.core.property import Property
    from gradcheck_suite.core.report import Report
    from gradcheck_suite.subject import Batch, Setup, Subject

__version__ = "0.1.0"

_HOMES = {
    "gradcheck_suite.api": ("assert_gradients", "audit", "check_gradient", "parametrize"),
    "gradcheck_suite.core.architecture": ("Architecture", "layer"),
    "gradcheck_suite.core.evidence": ("Evidence", "Level", "Verdict", "Where"),
    "gradcheck_suite.core.finding": ("Finding",),
    "gradcheck_suite.core.property": ("Property",),
    "gradcheck_suite.core.report": ("Report",),
    "gradcheck_suite.subject": ("Batch", "Setup", "Subject"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["Architecture", "Batch", "Evidence", "Finding", "Level", "Property", "Report", "Setup", "Subject", "Verdict", "Where",
           "__version__", "assert_gradients", "audit", "check_gradient", "layer", "parametrize"]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
