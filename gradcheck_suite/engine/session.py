"""A session: a stream of events given to consumers and folded into a report, whatever interrupts it."""

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

from gradcheck_suite.core.events import Event, Note, RunFinished
from gradcheck_suite.core.report import Report, fold

Consumer = Callable[[Event], None]


class Interrupted(BaseException):
    """A signal asked the run to stop; ``number`` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


def collect(events: Iterable[Event], *consumers: Consumer, earlier: Iterable[Event] = ()) -> tuple[Report, int]:
    """Give every event to every consumer and fold them all into a report.

    Args:
        events: the run's stream.
        consumers: called with each event, in order (store first: what is shown has been stored).
        earlier: events of an interrupted run that this one resumes; folded, not given to the consumers.

    Returns:
        The report, and the number of the signal that stopped the run (0 where none did).
    """
    seen: list[Event] = list(earlier)
    stopped = 0

    def pass_on(event: Event) -> None:
        seen.append(event)
        for consumer in consumers:
            consumer(event)

    stream = iter(events)
    try:
        for event in stream:
            pass_on(event)
    except (Interrupted, KeyboardInterrupt) as stop:
        stopped = stop.number if isinstance(stop, Interrupted) else int(signal.SIGINT)
        _close(stream)
        pass_on(Note(text=f"stopped by {signal.Signals(stopped).name}; what was finished is kept"))
        pass_on(RunFinished(seconds=0.0, interrupted=True))
    return fold(seen), stopped


def _close(stream: Iterator[Event]) -> None:
    close = getattr(stream, "close", None)
    if close is not None:
        close()


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into ``Interrupted``; a second one ends the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)

    def stop(number: int, _frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_DFL)
        raise Interrupted(number)

    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
