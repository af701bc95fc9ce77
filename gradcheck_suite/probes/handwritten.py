"""Hand-written functions in a model's graph: each with the arguments of its calls and the module that called it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gradcheck_suite.probes.directional_derivative.functions import function_name, function_source, recorded
from gradcheck_suite.probes.directional_derivative.graph import survey
from gradcheck_suite.probes.graph import Authors, custom_function, nodes


@dataclass(frozen=True, slots=True)
class FunctionRun:
    """One call of a custom ``autograd.Function``: its class, what it was given, and the module in which that happened."""

    function: Any
    args: tuple[Any, ...]
    module: str

    @property
    def name(self) -> str:
        """The class name."""
        return function_name(self.function)

    @property
    def source(self) -> str:
        """``file:line`` of its backward pass, ``""`` where it is not known."""
        return function_source(self.function) or ""

    def output(self, *first: torch.Tensor) -> Any:
        """What it gives with these tensors in place of its first arguments."""
        return self.function.apply(*first, *self.args[len(first) :])


def function_runs(
    outputs: Sequence[torch.Tensor], authors: Authors, again: Callable[[], object], most: int | None = None
) -> list[FunctionRun]:
    """The calls of the custom functions behind the outputs, seen while ``again`` makes the outputs once more; none: it is not called.

    Of all functions the nearest ``most``, counted from the outputs.
    """
    functions = survey(outputs).functions[:most]
    if not functions:
        return []
    places: dict[Any, str] = {}
    for node in nodes(*outputs):
        function = custom_function(node)
        if function is not None:
            places[function] = authors.of(node) or ""
    with recorded(functions) as calls:
        again()
    return [FunctionRun(function, args, places.get(function, "")) for function, args in list(calls)]
