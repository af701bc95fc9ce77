"""Models that harm their own process. Run them in a child only."""

import collections
import contextlib
import ctypes
import itertools
import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

Action = Callable[[], Any]


class Step(nn.Module):
    """Runs an action in its forward pass and passes its input on."""

    def __init__(self, action: Action) -> None:
        super().__init__()
        self.action = action

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.action()
        return x


class InBackward(torch.autograd.Function):
    """Runs an action in its backward pass."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, action: Action) -> torch.Tensor:
        ctx.action = action
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        ctx.action()
        return grad, None


class BackStep(nn.Module):
    """Runs an action in its backward pass."""

    def __init__(self, action: Action) -> None:
        super().__init__()
        self.action = action

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return InBackward.apply(x, self.action)


def net(step: nn.Module) -> dict[str, Any]:
    body = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), step)
    return {"model": nn.Sequential(collections.OrderedDict(body=body, head=nn.Linear(4, 2))), "inputs": torch.ones(4, 3)}


def forward(action: Action) -> dict[str, Any]:
    return net(Step(action))


def backward(action: Action) -> dict[str, Any]:
    return net(BackStep(action))


def once(action: Action) -> Action:
    """The action the first time it is called in this process, nothing afterwards."""
    done: list[int] = []

    def first() -> None:
        if not done:
            done.append(1)
            action()

    return first


def throwing(make: Callable[[], BaseException]) -> Action:
    def action() -> None:
        raise make()

    return action


def healthy() -> dict[str, Any]:
    return net(nn.Tanh())


# --- it ends its process


def segfault_forward() -> dict[str, Any]:
    return forward(lambda: ctypes.string_at(0))


def segfault_backward() -> dict[str, Any]:
    return backward(lambda: ctypes.string_at(0))


def abort_forward() -> dict[str, Any]:
    return forward(os.abort)


def exit_zero_forward() -> dict[str, Any]:
    return forward(lambda: os._exit(0))


def exit_zero_backward() -> dict[str, Any]:
    return backward(lambda: os._exit(0))


def kills_itself() -> dict[str, Any]:
    return forward(lambda: os.kill(os.getpid(), signal.SIGKILL))


def kills_its_group() -> dict[str, Any]:
    return forward(lambda: os.killpg(0, signal.SIGTERM))


def overflows_the_c_stack() -> dict[str, Any]:
    class Nested:
        def __repr__(self) -> str:
            return repr(self)

    def action() -> None:
        sys.setrecursionlimit(10**9)
        repr(Nested())

    return forward(action)


def forges_a_result() -> dict[str, Any]:
    def action() -> None:
        line = json.dumps({"nonce": "0" * 32, "done": "backward_pass", "finished": 0}) + "\n"
        for place in (".", ".."):
            with open(os.path.join(place, "records.jsonl"), "a", encoding="ascii") as file:
                file.write(line)
            with open(os.path.join(place, "backward_pass.capture"), "wb") as file:
                file.write(b"0" * 32 + (2).to_bytes(8, "little") + b"{}")
        os.write(1, line.encode())
        os._exit(0)

    return forward(action)


def no_more_files() -> dict[str, Any]:
    return forward(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0)))


# --- it raises


def sys_exit_forward() -> dict[str, Any]:
    return forward(lambda: sys.exit(0))


def keyboard_interrupt() -> dict[str, Any]:
    return forward(throwing(KeyboardInterrupt))


def base_exception() -> dict[str, Any]:
    class StopAll(BaseException):
        pass

    return forward(throwing(lambda: StopAll("not an Exception")))


def raises_backward() -> dict[str, Any]:
    return backward(throwing(lambda: ArithmeticError("no derivative today")))


def raises_the_second_time() -> dict[str, Any]:
    calls = itertools.count()

    def action() -> None:
        if next(calls):
            raise LookupError("once was enough")

    return forward(action)


def endless_recursion() -> dict[str, Any]:
    def action() -> None:
        action()

    return forward(action)


def huge_message() -> dict[str, Any]:
    return forward(throwing(lambda: ValueError("x" * 50_000_000)))


def binary_message() -> dict[str, Any]:
    return forward(throwing(lambda: ValueError("\0\udcff\u202e</script>[/bold]\x1b[31m")))


def unprintable_exception() -> dict[str, Any]:
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

        __repr__ = __str__

    return forward(throwing(Unprintable))


def one_huge_allocation() -> dict[str, Any]:
    return forward(lambda: torch.zeros(1 << 44))


# --- it does not come back


def python_loop() -> dict[str, Any]:
    def action() -> None:
        while True:
            pass

    return forward(action)


def loop_that_holds_the_lock() -> dict[str, Any]:
    return forward(lambda: collections.deque(iter(int, 1), maxlen=0))


def loop_backward() -> dict[str, Any]:
    return backward(lambda: collections.deque(iter(time.time, 1), maxlen=0))


def ignores_everything() -> dict[str, Any]:
    def action() -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        while True:
            with contextlib.suppress(BaseException):
                time.sleep(0.05)

    return forward(action)


def deadlock() -> dict[str, Any]:
    lock = threading.Lock()
    return forward(lambda: (lock.acquire(), lock.acquire()))
