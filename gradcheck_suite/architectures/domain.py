"""Domain: which architectures may be drawn, checked before anything is drawn, so that no draw is ever rejected."""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Literal, TypedDict

from gradcheck_suite.architectures.defects import DEFECTS
from gradcheck_suite.architectures.initializations import INITIALIZATIONS
from gradcheck_suite.architectures.kinds import KINDS
from gradcheck_suite.architectures.losses import LOSSES
from gradcheck_suite.architectures.optimizers import OPTIMIZERS
from gradcheck_suite.architectures.values import VALUES
from gradcheck_suite.core.errors import UsageError, did_you_mean

Form = Literal["features", "sequence", "signal", "image", "tokens"]

FORMS: tuple[Form, ...] = ("features", "sequence", "signal", "image", "tokens")


def _flow(kind: str) -> dict[Form, Form]:
    """What a kind makes of each form of sample it is at home in: fewer than the shapes PyTorch would let it take."""
    spatial: tuple[Form, ...] = ("signal", "image")
    by_kind: dict[str, dict[Form, Form]] = {
        "dense": {"features": "features", "sequence": "sequence"},
        "conv1d": {"signal": "signal"},
        "conv2d": {"image": "image"},
        "batch_norm": {"features": "features", "signal": "signal", "image": "image"},
        "flatten": {"sequence": "features", "signal": "features", "image": "features"},
        "last_step": {"sequence": "features"},
        "mean_over_time": {"sequence": "features"},
        "global_avg_pool": dict.fromkeys(spatial, "features"),
        "embedding": {"tokens": "sequence"},
        **{name: {"sequence": "sequence"} for name in ("rnn", "lstm", "gru", "attention", "encoder")},
    }
    if kind in by_kind:
        return by_kind[kind]
    positional = kind in ("group_norm", "instance_norm") or KINDS[kind].family == "pooling"
    return {form: form for form in (spatial if positional else FORMS[:4])}


FLOW: Mapping[str, Mapping[Form, Form]] = MappingProxyType({kind: _flow(kind) for kind in KINDS})
_KEEPING = ("weighted", "activation", "normalization")
KEEPING = tuple(kind for kind, known in KINDS.items() if known.family in _KEEPING and kind != "embedding")
"""Kinds with options that leave the shape as it is: what the branch of a residual is drawn from."""


class DomainOptions(TypedDict, total=False):
    """The keywords of ``architectures``; see ``Domain``."""

    kinds: Iterable[str] | None
    depth: tuple[int, int]
    width: tuple[int, int]
    initializations: Iterable[str] | None
    losses: Iterable[str] | None
    optimizers: Iterable[str] | None
    batch: tuple[int, int]
    values: Iterable[str] | None
    dtype: str
    defects: Iterable[str] | None
    input_kinds: Iterable[str] | None
    training: bool | None
    alternating: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """What may be drawn; of names the first is the one that shrinking tends to.

    Attributes:
        kinds: of layers, those inside residual and concatenate included; ``repeated`` is drawn only where it is asked for.
        depth: least and largest number of layers at the top level.
        width: least and largest number of units, channels and input features that are drawn; concatenation, flattening and
            both directions of a recurrent layer can make more.
        initializations: by name.
        losses: by name; a loss over classes is drawn where the output has at least two.
        optimizers: by name.
        batch: least and largest number of samples; batch norm over vectors takes at least two.
        values: regimes of the input's values.
        dtype: ``float64`` or ``float32``.
        defects: one of them is planted, where there are any.
        input_kinds: forms of the input: ``features``, ``sequence`` (time, features), ``signal`` (channels, length),
            ``image`` (channels, height, width), ``tokens`` (time); by default those that suit the kinds.
        training: train or eval mode; ``None``: both.
        alternating: layers with weights and activations take turns, a layer with weights first and last; ``depth`` then
            counts the activations.
    """

    kinds: tuple[str, ...] = tuple(kind for kind in KINDS if kind not in ("sequential", "repeated"))
    depth: tuple[int, int] = (1, 8)
    width: tuple[int, int] = (1, 16)
    initializations: tuple[str, ...] = tuple(INITIALIZATIONS)
    losses: tuple[str, ...] = tuple(LOSSES)
    optimizers: tuple[str, ...] = tuple(OPTIMIZERS)
    batch: tuple[int, int] = (1, 6)
    values: tuple[str, ...] = tuple(VALUES)
    dtype: str = "float64"
    defects: tuple[str, ...] = ()
    input_kinds: tuple[Form, ...] = FORMS
    training: bool | None = None
    alternating: bool = False

    @property
    def classes_only(self) -> bool:
        """Whether every loss reads classes: no axis may then shrink to one."""
        return all(LOSSES[loss].classes for loss in self.losses)

    @property
    def least(self) -> int:
        """The least size of an axis."""
        return 2 if self.classes_only else 1

    @property
    def units(self) -> tuple[int, int]:
        """The least and the largest number of units that are drawn."""
        return max(self.width[0], self.least), self.width[1]

    @property
    def cap(self) -> int:
        """Features beyond which a layer that keeps its shape is given no weights (they grow with the square)."""
        return max(64, 2 * self.width[1])


def domain(options: DomainOptions) -> Domain:
    """A domain from keywords.

    Raises:
        UsageError: a keyword or name is unknown, a range is empty, or nothing can be drawn from what is asked for.
    """
    known = {field.name: field for field in fields(Domain)}
    given: dict[str, Any] = {}
    for name, value in options.items():
        if name not in known:
            raise UsageError(f"architectures() has no keyword {name!r}", allowed=", ".join(known), instead=did_you_mean(name, known))
        if value is not None:
            given[name] = value if isinstance(value, bool | str) else tuple(value)  # type: ignore[arg-type]
    _check_names(given)
    for name in ("depth", "width", "batch"):
        _check_range(name, given.get(name, known[name].default))
    made = Domain(**given)
    if made.units[0] > made.units[1]:
        raise UsageError(f"width={made.width} with losses {made.losses}", allowed="a width of at least 2, for there must be 2 classes")
    for kind in made.defects:
        if DEFECTS[kind].samples > made.batch[1]:
            raise UsageError(f"defect {kind!r} with batch={made.batch}", allowed=f"a batch of at least {DEFECTS[kind].samples}")
    forms = tuple(form for form in made.input_kinds if all(feasible(made, form, made.depth, need) for need in _needs(made)))
    if "input_kinds" not in given:
        # Kinds with weights were asked for: leave out the forms on which none of them can follow.
        forms = tuple(form for form in forms if feasible(made, form, (1, 9), ("weight", 1))) or forms
    refused = [form for form in made.input_kinds if form not in forms]
    if not forms or (refused and "input_kinds" in given):
        raise UsageError(
            f"no architecture of {made.depth[0]} to {made.depth[1]} layers on {', '.join(refused)} from the kinds "
            f"{', '.join(made.kinds)}" + (f" with defects {', '.join(made.defects)}" if made.defects else ""),
            instead="Allow more kinds of layers, other input_kinds, or another depth.",
        )
    return Domain(**{**given, "input_kinds": forms})


def _check_names(given: dict[str, Any]) -> None:
    tables: dict[str, Iterable[str]] = {
        "kinds": KINDS, "initializations": INITIALIZATIONS, "losses": LOSSES, "optimizers": OPTIMIZERS, "values": VALUES,
        "defects": DEFECTS, "input_kinds": FORMS,
    }  # fmt: skip
    for field, table in tables.items():
        names = given.get(field, ("",) if field == "losses" else tuple(table))
        if isinstance(names, str) or (not names and field != "defects"):
            raise UsageError(f"{field}={names!r}", allowed=f"several of {', '.join(map(repr, table))}")
        for name in names:
            if name not in table:
                allowed = ", ".join(map(repr, table))
                raise UsageError(f"unknown name {name!r} in {field}", allowed=allowed, instead=did_you_mean(str(name), table))
    if given.get("dtype", "float64") not in ("float64", "float32"):
        raise UsageError(f"dtype={given['dtype']!r}", allowed="'float64', 'float32'")


def _check_range(name: str, value: Any) -> None:
    integers = isinstance(value, tuple) and len(value) == 2 and all(isinstance(end, int) for end in value)
    if not integers or not 1 <= value[0] <= value[1]:
        raise UsageError(f"{name}={value!r}", allowed="a least and a largest integer, from 1", instead=f"Write {name}=(1, 8).")


Need = tuple[str, int]


def _needs(made: Domain) -> tuple[Need, ...]:
    return tuple(need_of(kind) for kind in made.defects) or (("output", 0),)


def need_of(defect: str) -> Need:
    """What must be among the layers for a defect to have its place: layers that provide it, and how many of them."""
    found = DEFECTS[defect]
    return ("parameter", 2) if found.cuts else (found.needs, 1)


def provides(kind: str, form: Form, need: str) -> bool:
    """Whether a layer of the kind, on a sample of the form, always has what a defect needs."""
    if need == "time":
        return FLOW[kind][form] == "sequence"
    if need == "attention":
        return kind in ("attention", "encoder")
    if need in ("buffer", "tokens"):
        return kind == {"buffer": "batch_norm", "tokens": "embedding"}[need]
    if need in ("bias", "numbers"):
        return kind != "embedding" and (need == "numbers" or KINDS[kind].family == "weighted")
    return need == "output" or KINDS[kind].family == "weighted"


@functools.lru_cache(maxsize=16384)
def feasible(made: Domain, form: Form, depth: tuple[int, int], need: Need) -> bool:
    """Whether some row of ``depth[0]`` to ``depth[1]`` layers starts on the form and provides what is needed."""
    # With five forms, what nine layers cannot do, no number can.
    fewest, most = min(depth[0], 9), min(depth[1], 9)
    missing = need[1]
    if fewest == 0 and missing == 0:
        return True
    return most > 0 and any(step(made, form, (fewest, most), need, kind) is not None for kind in allowed(made, form))


def step(made: Domain, form: Form, depth: tuple[int, int], need: Need, kind: str) -> tuple[Form, tuple[int, int], Need] | None:
    """What remains to be drawn after one layer of the kind, or ``None`` where it would end in a dead end."""
    name, missing = need
    after = FLOW[kind][form]
    rest = (max(0, depth[0] - 1), depth[1] - 1)
    left = (name, max(0, missing - provides(kind, form, name)))
    return (after, rest, left) if feasible(made, after, rest, left) else None


@functools.lru_cache(maxsize=4096)
def allowed(made: Domain, form: Form) -> tuple[str, ...]:
    """The kinds that the domain allows on samples of the form."""
    return tuple(kind for kind in made.kinds if form in FLOW[kind] and _possible(made, form, kind))


def _possible(made: Domain, form: Form, kind: str) -> bool:
    if KINDS[kind].family == "container":
        return bool(inner(made, form))
    return kind != "batch_norm" or form != "features" or made.batch[1] > 1


@functools.lru_cache(maxsize=4096)
def inner(made: Domain, form: Form) -> tuple[str, ...]:
    """The kinds from which a branch on samples of the form is drawn."""
    return tuple(kind for kind in made.kinds if kind in KEEPING and form in FLOW[kind] and _possible(made, form, kind))
