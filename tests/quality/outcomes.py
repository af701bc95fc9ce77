"""What is judged, what a judge said of it, and how that is kept."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from gradcheck_suite.core.evidence import Where

from .corpus.case import Build, Case

Kind = Literal["bug", "twin", "control"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One model to be judged.

    Attributes:
        id: of the case or control; twins end in ``/twin``.
        kind: whether the gradient is wrong, or right by a twin or a control.
        row: which row of the table it counts in.
        build: makes it.
        case: the case it comes from, where it is no control.
        exact: whether it is float64 throughout.
    """

    id: str
    kind: Kind
    row: str
    build: Build
    case: Case | None = None
    exact: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one run said of one model.

    Attributes:
        entry: the model.
        seed: of the run.
        accused: whether it called the gradient wrong.
        places: where, one for each finding.
        accusers: the property of each finding.
        error: what could not be run, or ``""``.
        seconds: CPU time.
    """

    entry: Entry
    seed: int
    accused: bool
    places: tuple[Where, ...] = ()
    accusers: tuple[str, ...] = ()
    error: str = ""
    seconds: float = 0.0

    @property
    def named(self) -> bool:
        """The true module is among the places."""
        return any(self._at(place) for place in self.places)

    @property
    def placed(self) -> bool:
        """The true module is named, and no other but those that contain it."""
        return self.named and all(self._around(place) for place in self.places)

    @property
    def function(self) -> bool:
        """The wrong Function or operation is named."""
        case = self.entry.case
        return case is not None and case.function is not None and any(case.function in (place.function or "") for place in self.places)

    def _at(self, place: Where) -> bool:
        case = self.entry.case
        return case is not None and place.module == case.module

    def _around(self, place: Where) -> bool:
        case = self.entry.case
        return case is not None and f"{case.module}.".startswith(f"{place.module}." if place.module else "")


Judge = Callable[[Entry, int], Outcome]


class Kept:
    """The outcomes of one judge in a file of JSON lines: a run that takes hours goes on where the last one ended."""

    def __init__(self, path: Path, judge: str) -> None:
        self._path, self._judge = path, judge
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self._known = {(line["id"], line["seed"]): line for line in map(json.loads, lines) if line["judge"] == judge}

    def outcome(self, entry: Entry, seed: int) -> Outcome | None:
        """What is known of this model from this seed."""
        line = self._known.get((entry.id, seed))
        if line is None:
            return None
        places = tuple(Where(**{**place, "entry": place["entry"] and tuple(place["entry"])}) for place in line["places"])
        return Outcome(entry=entry, seed=seed, accused=line["accused"], places=places, accusers=tuple(line["accusers"]),
                       error=line["error"], seconds=line["seconds"])

    def add(self, outcome: Outcome) -> None:
        """Write an outcome down."""
        facts = {name: getattr(outcome, name) for name in ("seed", "accused", "accusers", "error", "seconds")}
        line = {"judge": self._judge, "id": outcome.entry.id, "places": [asdict(place) for place in outcome.places], **facts}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
