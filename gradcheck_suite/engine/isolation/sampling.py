"""Where a probe is: which stage, which module, and for how long in one call; sampled from outside or traced in a second run."""

import sys
import threading
from collections.abc import Callable
from time import monotonic as _monotonic  # these two are bound before any code of the user's runs
from time import sleep as _sleep
from types import FrameType
from typing import Any, Final

from gradcheck_suite.engine.isolation.blame import is_ours, module_of, stage_of

Report = Callable[..., None]
_SAMPLES: Final = 8
_SHORTEST: Final = 0.1


def sampling_interval(seconds: float) -> float:
    """Seconds between two samples of a probe with that deadline."""
    return max(seconds / _SAMPLES, _SHORTEST)


class Sampler:
    """A thread that looks at the main thread's stack a few times within a probe's deadline and records what it sees.

    ``stuck`` is how long, in seconds, the call that left our code has lasted: a long one is a hang rather than slow work.
    Where the model holds the interpreter's lock, no sample comes; the parent takes that as a hang as well.
    """

    def __init__(self, report: Report, seconds: float) -> None:
        self._report, self._interval = report, sampling_interval(seconds)
        self._main = threading.get_ident()
        self._probe = ""
        self._call: FrameType | None = None
        self._since = 0.0
        threading.Thread(target=self._run, name="gradcheck-sampler", daemon=True).start()

    def watch(self, probe: str) -> None:
        """Begin to look at a probe; ``""`` ends it."""
        self._call, self._probe = None, probe

    def _run(self) -> None:
        while True:
            _sleep(self._interval)
            probe = self._probe
            if probe:
                self._sample(probe)

    def _sample(self, probe: str) -> None:
        frames: list[FrameType] = []
        frame = sys._current_frames().get(self._main)
        while frame is not None:
            frames.append(frame)
            frame = frame.f_back
        frames.reverse()
        call = _first_foreign(frames)
        now = _monotonic()
        if call is not self._call:
            self._call, self._since = call, now
        stuck = 0.0 if call is None else now - self._since
        self._report(sample=probe, stage=stage_of(frames), module=module_of(frames), stuck=round(stuck, 3))


def _first_foreign(frames: list[FrameType]) -> FrameType | None:
    """The outermost frame, below one of ours, that is not ours."""
    seen = False
    for frame in frames:
        ours = is_ours(frame)
        if seen and not ours:
            return frame
        seen = seen or ours
    return None


def trace(report: Report) -> None:
    """Record every entry into a module's forward, and the backward of every module's outputs; slow, so for a second run only."""
    import torch
    from torch.nn.modules import module as hooks

    running: list[tuple[Any, dict[int, str]]] = []
    seen: dict[int, torch.Tensor] = {}  # outputs that an inner module made first; kept, so that ids stay theirs

    def before(module: Any, _args: Any) -> None:
        paths = running[0][1] if running else {id(inner): path for path, inner in module.named_modules()}
        running.append((module, paths))
        report(stage="forward", module=paths.get(id(module)))

    def after(module: Any, _args: Any, output: Any) -> None:
        if not running:
            return
        _, paths = running.pop()
        path = paths.get(id(module))
        report(stage="forward" if running else "", module=paths.get(id(running[-1][0])) if running else None)
        for tensor in output if isinstance(output, tuple | list) else [output]:
            if isinstance(tensor, torch.Tensor) and tensor.grad_fn is not None and id(tensor) not in seen:
                seen[id(tensor)] = tensor
                tensor.grad_fn.register_prehook(lambda _grads, path=path: report(stage="backward", module=path))

    hooks.register_module_forward_pre_hook(before)
    hooks.register_module_forward_hook(after, always_call=True)
