"""Forward effects: a forward pass is run, and everything it may touch is compared with what was there before."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from gradcheck_suite.captures.forward_effects import BUFFER, GENERATOR, INPUT, PARAMETER, REGISTRY, SETTING, Effect, ForwardEffects
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import SubjectError
from gradcheck_suite.probes.execution import forward, realise, tensors
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.subject import Setup, Subject

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def forward_effects(subject: Subject, budget: Budget, seed: int) -> ForwardEffects:
    """Run the forward pass twice in the subject's mode and twice in eval mode (see ``captures.forward_effects``).

    The two passes of a mode start from different generator states: a generator that ends both in the same state was set by
    the model, one that was merely drawn from was not.

    Raises:
        SubjectError: the subject could not be built, or its forward pass raised in the subject's own mode.
    """
    setup = realise(subject, seed)
    own = "train" if setup.model.training else "eval"
    effects: list[Effect] = []
    failed: list[tuple[str, str]] = []
    modes = tuple(dict.fromkeys((own, "eval")))
    compared: dict[str, int] = {}
    for mode in modes:
        with preserved(setup.model):
            if mode != own:
                setup.model.eval()
            try:
                found, counts = _effects(setup, mode, seed)
            except SubjectError as error:
                if mode == own:
                    raise
                failed.append((mode, str(error)))
                continue
        effects += found
        compared |= counts
    return ForwardEffects(modes=modes, effects=tuple(effects), compared=tuple(sorted(compared.items())), failed=tuple(failed))


def _effects(setup: Setup, mode: str, seed: int) -> tuple[list[Effect], dict[str, int]]:
    """The changes of two passes, and how many things were compared."""
    held = _held(setup)
    before = {key: tensor.detach().clone() for key, tensor in held.items()}
    registry, settings = _registry(setup.model), _settings()
    ends = []
    for shift in (0, 1):
        _seed(seed + shift)
        starts = _generators()
        forward(setup)
        ends.append((starts, _generators()))
    changed = [Effect(kind=kind, mode=mode, module=module, name=name, entries=entries, detail=f"{entries} of {tensor.numel()} entries")
               for (kind, module, name), tensor in held.items() if (entries := _differing(before[kind, module, name], tensor))]
    changed += list(_registered(registry, _registry(setup.model), mode))
    changed += [Effect(kind=SETTING, mode=mode, module=None, name=name, entries=1, detail=f"{was} became {now}")
                for (name, was), now in zip(settings.items(), _settings().values(), strict=True) if was != now]
    changed += list(_reseeded(ends, mode))
    counts = {kind: sum(key[0] == kind for key in held) for kind in (PARAMETER, BUFFER, INPUT)}
    return changed, counts | {REGISTRY: len(registry), GENERATOR: len(ends[0][0]), SETTING: len(settings)}


def _held(setup: Setup) -> dict[tuple[str, str | None, str], torch.Tensor]:
    """Parameters, buffers and input tensors, by kind, module and name."""
    found: dict[tuple[str, str | None, str], torch.Tensor] = {}
    for path, module in setup.model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not torch.nn.parameter.is_lazy(parameter):
                found[PARAMETER, path, name] = parameter
        found.update({(BUFFER, path, name): buffer for name, buffer in module.named_buffers(recurse=False)})
    for index, value in enumerate(setup.batch.args):
        found.update({(INPUT, None, f"input {index}{_suffix(i)}"): tensor for i, tensor in enumerate(tensors(value))})
    for name, value in setup.batch.kwargs.items():
        found.update({(INPUT, None, f"input {name}{_suffix(i)}"): tensor for i, tensor in enumerate(tensors(value))})
    return {key: tensor for key, tensor in found.items() if tensor.layout == torch.strided and tensor.device.type != "meta"}


def _suffix(index: int) -> str:
    return f"[{index}]" if index else ""


def _differing(before: torch.Tensor, now: torch.Tensor) -> int:
    """Number of entries that differ; NaN equals NaN; all of them where shape or dtype changed."""
    now = now.detach()
    if before.shape != now.shape or before.dtype != now.dtype:
        return max(1, before.numel())
    same = before == now
    if before.is_floating_point() or before.is_complex():
        same |= before.isnan() & now.isnan()
    return int((~same).sum())


def _registry(model: nn.Module) -> dict[tuple[str, str], Any]:
    """What each module has and how it is set, as comparable values."""
    found: dict[tuple[str, str], Any] = {}
    for path, module in model.named_modules():
        found[path, "parameters"] = tuple(name for name, _ in module.named_parameters(recurse=False))
        found[path, "buffers"] = tuple(name for name, _ in module.named_buffers(recurse=False))
        found[path, "modules"] = tuple(name for name, _ in module.named_children())
        found[path, "hooks"] = sum(len(getattr(module, registry, ())) for registry in _HOOKS)
        found[path, "training"] = module.training
        found[path, "requires_grad"] = tuple(parameter.requires_grad for parameter in module.parameters(recurse=False))
        found[path, "gradients"] = tuple(parameter.grad is not None for parameter in module.parameters(recurse=False))
    return found


def _registered(before: dict[tuple[str, str], Any], now: dict[tuple[str, str], Any], mode: str) -> Iterator[Effect]:
    """The differences of two registries; a module that came or went is its parent's affair."""
    for (path, what), was in before.items():
        became = now.get((path, what), was)
        if became != was:
            yield Effect(kind=REGISTRY, mode=mode, module=path, name=what, entries=1, detail=f"{was!r} became {became!r}"[:300])


def _settings() -> dict[str, str]:
    """The process-wide settings of torch that a forward pass has no business with, as text."""
    return {
        "default dtype": str(torch.get_default_dtype()), "default device": str(torch.get_default_device()),
        "grad mode": str(torch.is_grad_enabled()), "inference mode": str(torch.is_inference_mode_enabled()),
        "number of threads": str(torch.get_num_threads()), "anomaly detection": str(torch.is_anomaly_enabled()),
        "deterministic algorithms": str(torch.are_deterministic_algorithms_enabled()),
        "autocast": str(torch.is_autocast_enabled("cpu")),
    }


def _seed(seed: int) -> None:
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def _generators() -> dict[str, Any]:
    """States of the global generators, as comparable values."""
    numpy_state: Any = np.random.get_state()
    return {"torch": torch.get_rng_state().numpy().tobytes(), "random": random.getstate(),
            "numpy.random": (numpy_state[1].tobytes(), *numpy_state[2:])}


def _reseeded(ends: list[tuple[dict[str, Any], dict[str, Any]]], mode: str) -> Iterator[Effect]:
    """Generators that ended both passes alike although they started them differently."""
    (first_start, first_end), (second_start, second_end) = ends
    for name in first_start:
        if first_start[name] != second_start[name] and first_end[name] == second_end[name]:
            detail = "ends in the same state whatever it started from"
            yield Effect(kind=GENERATOR, mode=mode, module=None, name=name, entries=1, detail=detail)


