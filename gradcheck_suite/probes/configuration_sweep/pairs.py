"""Pairs of changes: drawn by Hypothesis and shrunk to the fewest and simplest changes that keep the verdict."""

from collections.abc import Callable, Sequence
from contextlib import suppress

from gradcheck_suite.probes.configuration_sweep.draft import Change
from gradcheck_suite.probes.configuration_sweep.trial import Trial
from gradcheck_suite.probes.directional_derivative.comparison import DISAGREES

Run = Callable[[list[Change]], Trial]


class _Wrong(AssertionError):
    """The configuration just drawn gives a wrong gradient."""


def wrong_pair(
    changes: Sequence[Change], trials: Sequence[Trial], run: Run, examples: int, seed: int
) -> list[tuple[list[Change], Trial]]:
    """Pairs of changes with what came of them; a wrong one is shrunk, to a single change where that is wrong too, and comes last.

    ``trials`` are those of the single changes. Only "wrong" counts while shrinking: a simpler configuration that lies on a kink,
    or cannot be decided, is not taken for it.
    """
    if len(changes) < 2 or examples < 1:
        return []
    from hypothesis import HealthCheck, Phase, Verbosity, given, settings
    from hypothesis import seed as seeded
    from hypothesis import strategies as st

    known: dict[tuple[int, ...], Trial] = {(number,): trial for number, trial in enumerate(trials)}
    wrong: list[tuple[int, ...]] = []
    numbers = st.lists(st.integers(0, len(changes) - 1), min_size=1, max_size=2, unique_by=lambda number: changes[number].axis)

    @seeded(seed)
    @settings(max_examples=examples, database=None, deadline=None, phases=(Phase.generate, Phase.shrink), verbosity=Verbosity.quiet,
              suppress_health_check=list(HealthCheck), report_multiple_bugs=False)
    @given(numbers)
    def search(drawn: list[int]) -> None:
        chosen = tuple(sorted(drawn))
        if chosen not in known:
            known[chosen] = run([changes[number] for number in chosen])
        if known[chosen].status == DISAGREES:
            wrong.append(chosen)
            raise _Wrong

    with suppress(_Wrong):
        search()
    told = [chosen for chosen in known if len(chosen) == 2 and chosen not in wrong] + wrong[-1:]
    return [([changes[number] for number in chosen], known[chosen]) for chosen in told]
