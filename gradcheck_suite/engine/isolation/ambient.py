"""Process-wide state that a model may change behind our back, put back after every probe."""

import contextlib
import os
import random
import sys
import warnings
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import torch

_RECURSION: Final = 3000


@contextlib.contextmanager
def ambient_restored() -> Iterator[None]:
    """Restore on the way out, also after an exception, what the caller would notice.

    Covered: generator states (torch, ``random``, numpy), default dtype and device, grad mode, anomaly mode, deterministic mode,
    thread count, working directory, environment, ``sys.argv``, recursion limit, warning filters. The recursion limit is
    raised inside: hooks add frames to every call of a module, and a deep model that runs without them must run with them.
    """
    generators = (torch.get_rng_state(), random.getstate(), np.random.get_state())
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    modes = (torch.is_grad_enabled(), torch.is_anomaly_enabled(), torch.are_deterministic_algorithms_enabled())
    defaults = (torch.get_default_dtype(), torch.get_default_device(), torch.get_num_threads())
    process = (_directory(), dict(os.environ), list(sys.argv), sys.getrecursionlimit())
    sys.setrecursionlimit(max(sys.getrecursionlimit(), _RECURSION))
    try:
        with warnings.catch_warnings():
            yield
    finally:
        _restore_process(*process)
        _restore_torch(modes, defaults)
        torch.set_rng_state(generators[0])
        random.setstate(generators[1])
        np.random.set_state(generators[2])
        if cuda:
            torch.cuda.set_rng_state_all(cuda)


def _restore_torch(modes: tuple[bool, bool, bool], defaults: tuple[torch.dtype, torch.device, int]) -> None:
    grad, anomaly, deterministic = modes
    dtype, device, threads = defaults
    torch.set_grad_enabled(grad)
    torch.autograd.set_detect_anomaly(anomaly)
    if torch.are_deterministic_algorithms_enabled() != deterministic:
        torch.use_deterministic_algorithms(deterministic)
    torch.set_default_dtype(dtype)
    if torch.get_default_device() != device:
        torch.set_default_device(device)
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def _restore_process(directory: str | None, environment: dict[str, str], argv: list[str], recursion: int) -> None:
    if directory is not None and _directory() != directory:
        with contextlib.suppress(OSError):
            os.chdir(directory)
    if dict(os.environ) != environment:
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        os.environ.update(environment)
    sys.argv[:] = argv
    sys.setrecursionlimit(recursion)


def _directory() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        return None


def facts_of(model: Any) -> tuple[int, tuple[tuple[str, str], ...]]:
    """Number of parameter entries (lazy ones count none), and each module's path and class, in registration order."""
    parameters = sum(p.numel() for p in model.parameters() if not torch.nn.parameter.is_lazy(p))
    return parameters, tuple((path, type(module).__name__) for path, module in model.named_modules())
