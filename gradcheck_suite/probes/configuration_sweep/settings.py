"""Changes of settings: numbers, flags and words that a module keeps as attributes or is called with."""

import math
from collections.abc import Callable, Iterator
from typing import Any, Final

from gradcheck_suite.probes.configuration_sweep.defaults import absent_arguments, absent_settings
from gradcheck_suite.probes.configuration_sweep.draft import Change, Draft
from gradcheck_suite.probes.directional_derivative.draws import Draws

SETTING: Final = "setting"
# Flags whose two values are both the ordinary use of a layer. Any other may be a switch for what its owner means to do to gradients.
_FLAGS: Final = frozenset((
    "affine", "align_corners", "batch_first", "bidirectional", "causal", "ceil_mode", "count_include_pad", "full", "include_last_offset",
    "is_causal", "keepdim", "keep_dim", "log_target", "normalize", "norm_first", "reverse", "reversed", "unbiased",
))
_WORDS: Final = (
    ("mean", "sum", "none"), ("zeros", "reflect", "replicate", "circular"), ("constant", "reflect", "replicate", "circular"),
    ("nearest", "bilinear", "bicubic"), ("none", "tanh"), ("tanh", "relu"), ("max", "mean", "sum"),
)
_OPEN: Final = "_"


def settings(draft: Draft, draws: Draws) -> Iterator[Change]:
    """Every plain setting off its value, one at a time: attributes of the module, items of tuples in them, arguments, given or not."""
    found = [*_attributes(draft), *_arguments(draft), *([change] for change in absent_arguments(draft, SETTING, draws))]
    longest = max((len(changes) for changes in found), default=0)
    for rank in range(longest):
        yield from (changes[rank] for changes in found if rank < len(changes))


def _attributes(draft: Draft) -> Iterator[list[Change]]:
    module = draft.module
    for name, numbers in absent_settings(module):
        yield [_set(module, name, new, f"{name} = {new!r} for None") for new in numbers]
    for name, value in vars(module).items():
        if name.startswith(_OPEN) or name == "training":
            continue
        if isinstance(value, list | tuple):
            for place, item in enumerate(value[:6]):
                yield [_set(module, name, _replaced(value, place, new), f"{name}[{place}] = {new!r} for {item!r}")
                       for new in alternatives(f"{name}[{place}]", item)]
        else:
            yield [_set(module, name, new, f"{name} = {new!r} for {value!r}") for new in alternatives(name, value)]


def _arguments(draft: Draft) -> Iterator[list[Change]]:
    for index, leaf in enumerate(draft.leaves):
        yield [Change(SETTING, f"argument {new!r} for {leaf!r}", _given(index, new), rewrites=True) for new in alternatives("", leaf)]


def alternatives(name: str, value: Any) -> list[Any]:
    """Other values of a setting, the most usual first; none where it is no plain number, flag or word of a known kind."""
    if isinstance(value, bool):
        return [not value] if name.strip(_OPEN) in _FLAGS else []
    if isinstance(value, int):
        return _integers(value)
    if isinstance(value, float):
        return _reals(value)
    if isinstance(value, str):
        return next(([word for word in words if word != value] for words in _WORDS if value in words), [])
    return []


def _integers(value: int) -> list[int]:
    if value < 0:
        return [0, 1, value - 1]
    return [new for new in dict.fromkeys((value + 1, 2 * value, 1, 4 * value, value - 1)) if new > 0 and new != value]


def _reals(value: float) -> list[float]:
    if not math.isfinite(value):
        return []
    if value == 0.0:
        return [0.1, 0.5, 1.0]
    if abs(value) < 1e-2:
        return [0.1 * math.copysign(1.0, value), 10 * value]
    if value < 0:
        return [value / 2, 2 * value]
    others = (value / 2, (1 + value) / 2, 2 * value) if value < 1 else (1.0, value / 2, value + 1, value / 20, value / 100)
    return [new for new in dict.fromkeys(others) if new != value]


def _replaced(items: Any, place: int, new: Any) -> Any:
    changed = [*items[:place], new, *items[place + 1 :]]
    return changed if isinstance(items, list) else type(items)(changed) if type(items) is tuple else items


def _set(owner: Any, name: str, new: Any, text: str) -> Change:
    return Change(SETTING, text, lambda draft: draft.settings.append((owner, name, new)), rewrites=True)


def _given(index: int, new: Any) -> Callable[[Draft], None]:
    def apply(draft: Draft) -> None:
        draft.leaves[index] = new

    return apply
