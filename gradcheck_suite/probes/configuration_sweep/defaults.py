"""Settings and arguments that the model leaves at their defaults: numbers that are None, tensors that are not given."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, Final

import torch
from torch.utils import _pytree as pytree

from gradcheck_suite.probes.configuration_sweep.draft import Change, Draft, Inapplicable
from gradcheck_suite.probes.directional_derivative.draws import Draws
from gradcheck_suite.probes.directional_derivative.trees import inexact

_NUMBERS: Final = {"float": (0.2, 0.5), "int": (1, 2)}


def absent_settings(module: torch.nn.Module) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Attributes that are None where the constructor says a number could be: their names and some numbers."""
    for name, parameter in _parameters(type(module).__init__):
        if name in vars(module) and vars(module)[name] is None:
            said = str(parameter.annotation)
            yield from ((name, numbers) for kind, numbers in _NUMBERS.items() if kind in said)


def absent_arguments(draft: Draft, axis: str, draws: Draws) -> Iterator[Change]:
    """Optional arguments of the forward method that are not given: plain ones off their defaults, tensors of likely shapes."""
    from gradcheck_suite.probes.configuration_sweep.settings import alternatives

    args, kwargs = pytree.tree_unflatten(draft.leaves, draft.spec)
    for number, (name, parameter) in enumerate(_parameters(draft.module.forward)):
        default, given = parameter.default, args[number] if number < len(args) else kwargs.get(name)
        if given is not None or default is parameter.empty or parameter.kind in (parameter.VAR_KEYWORD, parameter.KEYWORD_ONLY):
            continue
        for new in alternatives(name, default):
            yield Change(axis, f"{name} = {new!r} for {default!r}", _given(number, name, lambda d, v=new: v), rewrites=True)  # type: ignore[misc]
        if default is None and ("Tensor" in str(parameter.annotation) or parameter.annotation is parameter.empty):
            for what, make in _LIKELY:
                yield Change(axis, f"{name} given, {what}", _given(number, name, lambda d, m=make: _drawn(d, m, draws)))  # type: ignore[misc]


_LIKELY: Final[tuple[tuple[str, Callable[[torch.Tensor], torch.Tensor]], ...]] = (
    ("as one step of the input", lambda x: x.select(1, 0)), ("of the input's shape", lambda x: x),
    ("as one sample", lambda x: x.select(0, 0)), ("without the last axis", lambda x: x.select(-1, 0)),
)


def _drawn(draft: Draft, make: Callable[[torch.Tensor], torch.Tensor], draws: Draws) -> torch.Tensor:
    if not draft.floating:
        raise Inapplicable
    main = draft.leaves[max(draft.floating, key=lambda index: draft.leaves[index].dim())]
    if main.dim() < 2:
        raise Inapplicable
    made = make(main)
    return draws.like(made).clone()


def _given(number: int, name: str, make: Callable[[Draft], Any]) -> Callable[[Draft], None]:
    def apply(draft: Draft) -> None:
        value = make(draft)
        args, kwargs = pytree.tree_unflatten(draft.leaves, draft.spec)
        if number < len(args):
            args = [*args[:number], value, *args[number + 1 :]]
        else:
            kwargs = {**kwargs, name: value}
        facts = {id(leaf): flags for leaf, *flags in zip(draft.leaves, draft.moving, draft.carried, strict=True) if inexact(leaf)}
        draft.leaves, draft.spec = pytree.tree_flatten((args, kwargs))
        known = [facts.get(id(leaf), [leaf is value, False]) for leaf in draft.leaves]
        draft.moving, draft.carried = [moves for moves, _ in known], [carried for _, carried in known]

    return apply


def _parameters(function: Callable[..., Any]) -> list[tuple[str, inspect.Parameter]]:
    try:
        found = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return []
    return [(name, parameter) for name, parameter in found.items() if name != "self"]
