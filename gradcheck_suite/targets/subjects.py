"""From what a target names, or an object, to a ``Subject`` whose ``setup`` seeds, builds and checks."""

import inspect
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from gradcheck_suite.core.errors import UsageError
from gradcheck_suite.subject import Batch, Setup, Subject
from gradcheck_suite.targets.grammar import Options, Settings, Target, parse
from gradcheck_suite.targets.inference import INSTEAD, inferred
from gradcheck_suite.targets.inputs import from_specs, is_spec
from gradcheck_suite.targets.loading import activate, import_root, load, told
from gradcheck_suite.targets.models import copy_of_lazy, is_lazy, materialise, refuse_cycle, refuse_meta, unwrapped
from gradcheck_suite.targets.returned import adjusted, generator_of, setup_of
from gradcheck_suite.targets.trial import tried

_NUMPY_SEEDS: Final = 1 << 32


def resolve(target: Target, options: Options) -> Subject:
    """The subject of a parsed target.

    Raises:
        TargetError: it could not be imported, or what it names cannot be a subject.
        UsageError: an option has the wrong form.
    """
    subject = _resolved(target, settings_of(options, target.folder))
    return tried(subject, options.inputs) if options.trial and options.inputs else subject


def _resolved(target: Target, settings: Settings) -> Subject:
    if target.kind in ("module", "file"):
        root = import_root(target)
        made = subject_of(load(target), settings, target.text)
        build = made.setup

        def setup(seed: int) -> Setup:
            activate(root)
            return build(seed)

        return replace(made, setup=setup, target=target.text, widened=made.widened and _activated(made.widened, lambda: activate(root)))
    from gradcheck_suite.targets.zoo import factory

    return replace(subject_of(factory(target), settings, target.text), target=target.text)


def settings_of(options: Options, folder: str) -> Settings:
    """The options of the command line as settings; names in them are imported from ``folder``."""
    inputs: Any = None
    if len(options.inputs) == 1 and not is_spec(options.inputs[0]) and ":" in options.inputs[0]:
        inputs = load(parse(options.inputs[0], folder or None))
    elif options.inputs:
        texts = options.inputs
        from_specs(texts, torch.Generator())

        def inputs(seed: int) -> Batch:
            return Batch(*from_specs(texts, generator_of(seed, "inputs")))

    targets: Any = options.targets or None
    if targets and not is_spec(targets):
        targets = load(parse(targets, folder or None))
    elif targets:
        from_specs((targets,), torch.Generator())
    loss: Any = load(parse(options.loss, folder or None)) if options.loss else None
    if isinstance(loss, type):
        with told(f"the loss {options.loss!r} could not be built"):
            loss = loss()
    return Settings(inputs=inputs, targets=targets, loss=loss, mode=options.mode)


def subject_of(value: Any, settings: Settings, name: str) -> Subject:
    """See ``gradcheck_suite.targets.subject_of``."""
    if settings.mode not in ("", "train", "eval"):
        raise UsageError(f"unknown mode {settings.mode!r}", allowed="train, eval", instead="Leave it out to keep the model's own mode.")
    if isinstance(settings.loss, str):
        settings = replace(settings, loss=settings_of(Options(loss=settings.loss), "").loss)
    if isinstance(value, str):
        made = _resolved(parse(value), settings)
        return replace(made, name=name or made.name)
    if isinstance(value, Subject):
        build, wider = value.setup, value.widened
        return replace(value, name=name or value.name, setup=lambda seed: adjusted(build(seed), settings, seed),
                       widened=wider and (lambda times: subject_of(wider(times), settings, name)))
    label = name or _name_of(value)
    if isinstance(value, nn.Module):
        instance = copy_of_lazy(value) if is_lazy(value) else value
        return Subject(label, Maker(lambda: instance, settings, label), fresh=False, instance=instance)
    if isinstance(value, type) and issubclass(value, torch.autograd.Function):
        return Subject(label, Maker(lambda: Applied(value), settings, label))
    if callable(value):
        return Subject(label, Maker(value, settings, label), widened=_widened(value, settings, label))
    if isinstance(value, Mapping | tuple):
        return Subject(label, Maker(lambda: value, settings, label), fresh=False, instance=setup_of(value, 0, label).model)
    raise UsageError(f"{label} is a {type(value).__name__}, which cannot be audited",
                     allowed="a torch.nn.Module, a class of modules, an autograd.Function, a function that returns a module, a Subject, "
                             "or the text of a target")


def _activated(widened: Callable[[int], Subject], ready: Callable[[], None]) -> Callable[[int], Subject]:
    """``widened`` whose subjects make the folder of their file importable before they build."""
    def at(times: int) -> Subject:
        made = widened(times)

        def setup(seed: int) -> Setup:
            ready()
            return made.setup(seed)

        return replace(made, setup=setup)

    return at


def _widened(factory: Callable[..., Any], settings: Settings, label: str) -> Callable[[int], Subject] | None:
    """The factory at multiples of its width, where it has a parameter ``width`` whose default is a whole number."""
    try:
        parameter = inspect.signature(factory).parameters.get("width")
    except (TypeError, ValueError):
        return None
    if parameter is None or type(parameter.default) is not int or parameter.kind is parameter.POSITIONAL_ONLY or parameter.default < 1:
        return None
    own = parameter.default
    return lambda times: Subject(label, Maker(partial(factory, width=own * times), settings, label))


def _name_of(value: Any) -> str:
    if isinstance(value, nn.Module):
        return type(value).__name__
    return str(getattr(value, "__qualname__", type(value).__name__)).rpartition("<locals>.")[2]


class Applied(nn.Module):
    """A custom ``autograd.Function`` as a model without parameters."""

    def __init__(self, function: type[torch.autograd.Function]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """``Function.apply``."""
        return self.function.apply(*args, **kwargs)  # type: ignore[no-untyped-call]


class Maker:
    """The ``setup`` of a subject: seeds every global generator, builds, applies the settings, checks the model."""

    def __init__(self, build: Callable[[], Any], settings: Settings, label: str) -> None:
        self._build, self._settings, self._label = build, settings, label
        self._specs: tuple[str, ...] | None = None

    def __call__(self, seed: int) -> Setup:
        setup = self._made(seed)
        if not setup.batch.args and not setup.batch.kwargs and _wants_arguments(setup.model):
            if is_lazy(setup.model):
                raise UsageError(f"{self._label} has lazy modules and was given no inputs", instead=INSTEAD)
            if self._specs is None:
                self._specs = inferred(setup.model, self._label)
                setup = self._made(seed)
            args, kwargs = from_specs(self._specs, generator_of(seed, "inputs"))
            setup = replace(setup, batch=Batch(args, kwargs, setup.batch.targets))
        if is_lazy(setup.model):
            materialise(setup.model, setup.batch, self._label)
        return setup

    def _made(self, seed: int) -> Setup:
        seed_everything(seed)
        with told(f"{self._label} could not be built"):
            value = self._build()
        made = setup_of(value, seed, self._label)
        model = unwrapped(made.model)
        refuse_cycle(model, self._label)
        setup = adjusted(replace(made, model=model), self._settings, seed)
        refuse_meta(setup.model, self._label)
        return setup


def seed_everything(seed: int) -> None:
    """Seed the global generators of ``random``, numpy and torch (every device)."""
    random.seed(seed)
    np.random.seed(seed % _NUMPY_SEEDS)
    torch.manual_seed(seed)


def _wants_arguments(model: nn.Module) -> bool:
    """Whether ``forward`` has a parameter without default; a model of its own parameters alone has none."""
    try:
        parameters = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return True
    return any(p.kind is p.VAR_POSITIONAL or (p.default is p.empty and p.kind is not p.VAR_KEYWORD) for p in parameters)
