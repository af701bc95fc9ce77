"""Models that take too much of the machine, and models that are merely rude. Run them in a child only."""

import atexit
import builtins
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from typing import Any

import torch
from process import forward, once, throwing

# --- it takes too much


def grows_slowly() -> dict[str, Any]:
    kept: list[torch.Tensor] = []

    def action() -> None:
        while True:
            kept.append(torch.ones(1 << 22))
            time.sleep(0.001)

    return forward(action)


def children_that_grow() -> dict[str, Any]:
    code = "import time; kept = []\nwhile True: kept.append(bytearray(1 << 24)); time.sleep(0.01)"
    return forward(once(lambda: (subprocess.Popen([sys.executable, "-S", "-c", code]), time.sleep(60))))


def thread_bomb() -> dict[str, Any]:
    def action() -> None:
        while True:
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()

    return forward(action)


def process_bomb() -> dict[str, Any]:
    def action() -> None:
        while True:
            subprocess.Popen(["sleep", "60"])
            time.sleep(0.01)

    return forward(action)


def endless_output() -> dict[str, Any]:
    def action() -> None:
        while True:
            os.write(1, b"x" * 100_000)

    return forward(action)


def stops_itself() -> dict[str, Any]:
    return forward(lambda: os.kill(os.getpid(), signal.SIGSTOP))


def becomes_a_daemon() -> dict[str, Any]:
    def action() -> None:
        if os.fork():
            os._exit(0)
        os.setsid()
        if os.fork():
            os._exit(0)

    return forward(once(action))


def says_what_applies() -> dict[str, Any]:
    """Raises an exception that only we may raise."""
    from gradcheck_suite.core.errors import NotApplicable

    return forward(throwing(lambda: NotApplicable("nothing to see here")))


def ends_a_generator() -> dict[str, Any]:
    return forward(throwing(lambda: GeneratorExit("of no generator")))


def hooks_every_exception() -> dict[str, Any]:
    def action() -> None:
        sys.excepthook = threading.excepthook = sys.unraisablehook = lambda *_: os._exit(0)  # type: ignore[assignment]
        raise ValueError("hooked")

    return forward(action)


# --- it is merely rude: the audit goes on


def stops_its_parent() -> dict[str, Any]:
    return forward(once(lambda: os.kill(os.getppid(), signal.SIGSTOP)))


def replaces_what_we_use() -> dict[str, Any]:
    """Clock, JSON, files and comparisons, all replaced by something useless."""

    def action() -> None:
        json.dumps = lambda *_, **__: "{}"  # type: ignore[assignment]
        time.sleep = lambda _: None  # type: ignore[assignment]
        time.monotonic = lambda: 0.0
        builtins.open = None  # type: ignore[assignment]
        torch.allclose = torch.autograd.gradcheck = lambda *_, **__: True

    return forward(action)


def forgets_how_to_import() -> dict[str, Any]:
    def action() -> None:
        sys.meta_path.clear()
        sys.path_hooks.clear()
        sys.path.clear()

    return forward(action)


def prints_50_mb() -> dict[str, Any]:
    return forward(once(lambda: [sys.stdout.write("x" * 1_000_000) for _ in range(50)]))


def prints_bytes() -> dict[str, Any]:
    return forward(lambda: os.write(2, bytes(range(256)) * 50))


def closes_descriptors() -> dict[str, Any]:
    return forward(lambda: os.closerange(0, 256))


def closes_standard_streams() -> dict[str, Any]:
    def action() -> None:
        sys.stdout.close()
        sys.stderr = None

    return forward(once(action))


def deletes_its_folder() -> dict[str, Any]:
    def action() -> None:
        folder = tempfile.mkdtemp()
        os.chdir(folder)
        os.rmdir(folder)

    return forward(action)


def kills_its_parent() -> dict[str, Any]:
    return forward(once(lambda: os.kill(os.getppid(), signal.SIGKILL)))


def asks_its_parent_to_end() -> dict[str, Any]:
    return forward(lambda: os.kill(os.getppid(), signal.SIGTERM))


def forks() -> dict[str, Any]:
    return forward(once(os.fork))


def leaves_a_session() -> dict[str, Any]:
    return forward(once(lambda: subprocess.Popen(["sleep", "301.25"], start_new_session=True)))


def leaves_a_thread() -> dict[str, Any]:
    return forward(once(lambda: threading.Thread(target=time.sleep, args=(300,)).start()))


def leaves_an_exit_hook() -> dict[str, Any]:
    return forward(once(lambda: atexit.register(time.sleep, 300)))


def warns_a_lot() -> dict[str, Any]:
    def action() -> None:
        warnings.simplefilter("always")
        for number in range(100_000):
            warnings.warn(f"warning {number}", stacklevel=1)

    return forward(once(action))


def empties_its_environment() -> dict[str, Any]:
    def action() -> None:
        os.environ.clear()
        sys.path.clear()
        sys.argv.clear()

    return forward(action)


def handles_its_own_faults() -> dict[str, Any]:
    def action() -> None:
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)

    return forward(once(action))


def tells_its_surroundings() -> dict[str, Any]:
    """Raises with what it sees of its surroundings."""

    def action() -> None:
        names = sorted(name for name in os.environ if "GC_TEST" in name or name in ("HF_HUB_OFFLINE", "OMP_NUM_THREADS"))
        facts = {
            "cwd": os.getcwd(),
            "home": os.path.expanduser("~"),
            "temp": tempfile.gettempdir(),
            "argv": sys.argv,
            "stdin": sys.stdin.read(),
            "names": names,
            "core": resource.getrlimit(resource.RLIMIT_CORE),
            "threads": torch.get_num_threads(),
            "leader": os.getsid(0) == os.getpid(),
            "listing": os.listdir(),
        }
        raise RuntimeError("FACTS" + json.dumps(facts))

    return forward(action)
