"""Pairs of changes: drawn by Hypothesis and shrunk to the fewest and simplest changes that keep the verdict."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from tempfile import TemporaryDirectory
from typing import Final

from gradcheck_suite.probes.configuration_sweep.draft import Change
from gradcheck_suite.probes.configuration_sweep.trial import Trial
from gradcheck_suite.probes.directional_derivative.comparison import DISAGREES

_FIRST: Final = ("mode", "setting", "values of the parameters")

Run = Callable[[list[Change]], Trial]


class _Wrong(AssertionError):
    """The configuration just drawn gives a wrong gradient."""


def wrong_pair(changes: Sequence[Change], run: Run, examples: int, seed: int) -> list[tuple[list[Change], Trial]]:
    """Pairs of changes with what came of them; a wrong one is shrunk to the simplest that is wrong as well, and comes last.

    One of each pair is a mode, a setting or other parameters, where there are such: what changes which code runs. Only "wrong"
    counts while shrinking: a simpler configuration that lies on a kink, or cannot be decided, is not taken for it.
    """
    firsts = [number for number, change in enumerate(changes) if change.axis in _FIRST] or list(range(len(changes)))
    if len({change.axis for change in changes}) < 2 or examples < 1:
        return []
    from hypothesis import HealthCheck, Phase, Verbosity, given, settings
    from hypothesis import seed as seeded
    from hypothesis import strategies as st

    known: dict[tuple[int, int], Trial] = {}
    wrong: list[tuple[int, int]] = []

    @seeded(seed)
    @settings(max_examples=examples, database=None, deadline=None, phases=(Phase.generate, Phase.shrink), verbosity=Verbosity.quiet,
              suppress_health_check=list(HealthCheck), report_multiple_bugs=False)
    @given(st.sampled_from(firsts), st.integers(0, len(changes) - 1))
    def search(first: int, second: int) -> None:
        pair = (min(first, second), max(first, second))
        if changes[first].axis == changes[second].axis:
            return
        if pair not in known:
            known[pair] = run([changes[number] for number in pair])
        if known[pair].status == DISAGREES:
            wrong.append(pair)
            raise _Wrong

    with suppress(_Wrong), _nothing_kept():
        search()
    told = [pair for pair in known if pair not in wrong] + wrong[-1:]
    return [([changes[number] for number in pair], known[pair]) for pair in told]


@contextmanager
def _nothing_kept() -> Iterator[None]:
    """Hypothesis keeps what it read of the local modules in a folder of its own: not in the user's."""
    from hypothesis import configuration

    before = vars(configuration).get("__hypothesis_home_directory")
    with TemporaryDirectory() as folder:
        configuration.set_hypothesis_home_dir(folder)
        try:
            yield
        finally:
            configuration.set_hypothesis_home_dir(before)
