"""A recorded call in its own precision, and its float64 twin."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any

import torch

from gradcheck_suite.probes.configuration_sweep.draft import Draft
from gradcheck_suite.probes.configuration_sweep.varied import Varied
from gradcheck_suite.probes.directional_derivative.lifting import widened
from gradcheck_suite.probes.directional_derivative.units import Surroundings
from gradcheck_suite.probes.shipped_precision.draws import Repeating

Drawn = list[tuple[str, torch.Tensor]]


@dataclass(frozen=True, slots=True)
class Autocast:
    """Whether a region of automatic mixed precision is open for a kind of device, and its type."""

    device: str
    enabled: bool
    dtype: torch.dtype

    @classmethod
    def now(cls, tensors: Sequence[torch.Tensor]) -> "Autocast":
        """As it is here, for the device of these tensors."""
        device = tensors[0].device.type if tensors else "cpu"
        return cls(device, torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))

    def region(self) -> AbstractContextManager[Any]:
        """The same again."""
        return torch.autocast(self.device, dtype=self.dtype, enabled=self.enabled, cache_enabled=False)


class Twin(Varied):
    """The call with all its numbers in float64, and the draws of a run in another precision.

    ``roundoff`` and ``round`` make a copy that rounds at random: every input, every parameter and every result.
    """

    def __init__(self, draft: Draft, around: Surroundings, drawn: Drawn) -> None:
        for index in draft.floating:
            draft.leaves[index] = widened(draft.leaves[index])
        super().__init__(draft, around)
        self._drawn = drawn
        self.roundoff, self.round = 0.0, 0

    def arithmetic(self) -> AbstractContextManager[object]:
        """The mode in which draws come again, and numbers round at random."""
        return Repeating(self._drawn, self.roundoff, self.round)

    def rounded(self) -> ExitStack:
        """A context in which the tensors are off by one roundoff at random."""
        stack = ExitStack()
        noise = Repeating([], self.roundoff, self.round + 1_000_003)
        for tensor in self.tensors:
            stack.callback(setattr, tensor, "data", tensor.data)
            tensor.data = tensor.data * noise.noise(tensor.data)
        return stack
