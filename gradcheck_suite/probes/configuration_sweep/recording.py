"""The model's own calls, recorded, with everything held still that the replays must find as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

from gradcheck_suite.probes.directional_derivative.investigation import Investigation
from gradcheck_suite.probes.directional_derivative.power import held, iterating
from gradcheck_suite.probes.directional_derivative.record import Call
from gradcheck_suite.subject import Setup


class Recording(Investigation):
    """One realisation whose forward pass is recorded; nothing is compared."""

    def __init__(self, setup: Setup, seed: int) -> None:
        super().__init__(setup, seed)

    @contextmanager
    def made(self) -> Iterator[list[Call]]:
        """The calls, in order; while the context is open power iterations stand still.

        Raises:
            SubjectError: the forward pass or the loss raised.
        """
        self._recorded()
        root = self.whole.root
        with held(root):
            self.whole.resets.accept(module for module, _ in iterating(root))
            self.whole.reset()
            yield self.calls
