"""The surroundings of a child: its session, descriptors, limits, environment; set before any code of the user's runs."""

import contextlib
import faulthandler
import os
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

LOG: Final = "log"
FAULTS: Final = "faults"
SCRATCH: Final = "scratch"
_SECRET: Final = re.compile(
    r"(^|_)(TOKEN|KEY|KEYS|SECRET|SECRETS|PASSWORD|PASSWD|PASSPHRASE|PAT|CREDENTIALS?|DSN|COOKIE|AUTH)($|_)"
    r"|^(AWS|AZURE|GOOGLE|GCP|GCLOUD|OCI)_|^(PIP|UV)_(EXTRA_)?INDEX_URL$"
    r"|^(DATABASE_URL|SSH_AUTH_SOCK|SSH_AGENT_PID|GPG_AGENT_INFO|KUBECONFIG|NETRC|DOCKER_CONFIG)$", re.IGNORECASE)
_OFFLINE: Final = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
_ONE_THREAD: Final = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")
_HOMES: Final = ("HOME", "TMPDIR", "TEMP", "TMP", "USERPROFILE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
_STACK: Final = 64 << 20
_FRAMES: Final = 10_000
MARKER: Final = "GRADCHECK_CHILD"


def scrubbed(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without secrets and cloud credentials, with one thread and no downloads from model hubs."""
    kept = {name: value for name, value in environment.items() if not _SECRET.search(name)}
    return {**kept, **_OFFLINE, **_ONE_THREAD}


def settle(folder: Path, environment: Mapping[str, str], memory: int, nonce: str) -> None:
    """Turn this process into the child: nothing of the caller's terminal, files, environment or working directory remains."""
    if hasattr(os, "setsid"):
        with contextlib.suppress(OSError):
            os.setsid()
    _default_signals()
    _redirect(folder)
    scratch = folder / SCRATCH
    scratch.mkdir(exist_ok=True)
    os.environ.clear()
    os.environ.update(environment)
    os.environ.update(dict.fromkeys(_HOMES, str(scratch)))
    os.environ[MARKER] = nonce
    import tempfile

    tempfile.tempdir = None
    os.chdir(scratch)
    sys.argv[:] = ["gradcheck-child"]
    sys.dont_write_bytecode = True
    _limit(memory)


def watch_faults(folder: Path) -> Any:
    """Turn on ``faulthandler`` into a private file, which is returned: it must stay open."""
    file = open(folder / FAULTS, "ab", buffering=0)  # noqa: SIM115  (faulthandler keeps the descriptor)
    with contextlib.suppress(OSError):
        descriptor = os.dup2(file.fileno(), 1000, inheritable=False)
        file.close()
        file = os.fdopen(descriptor, "ab", buffering=0)
    faulthandler.enable(file, all_threads=True)
    return file


def _default_signals() -> None:
    signal.set_wakeup_fd(-1)
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGCHLD", "SIGALRM", "SIGUSR1", "SIGUSR2"):
        number = getattr(signal, name, None)
        if number is not None:
            signal.signal(number, signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL)


def _redirect(folder: Path) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    log = os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for descriptor in (null, log):
        if descriptor > 2:
            os.close(descriptor)
    sys.stdin = os.fdopen(0, "r", encoding="utf-8", errors="backslashreplace", closefd=False)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
                              for number in (1, 2))


def _limit(memory: int) -> None:
    """No core dumps; a bound on one process's address space and on the number of processes.

    Where CUDA or ROCm is built in, which reserve more address space than they use, the first is left to the parent.
    """
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _deepen()
    import torch

    if torch.version.cuda is None and torch.version.hip is None and sys.platform == "linux":
        _lower(resource.RLIMIT_AS, memory + _address_space())
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _deepen() -> None:
    """Room for models nested thousands of levels deep, in the interpreter's count of frames and on the C stack."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    if soft != resource.RLIM_INFINITY and soft < _STACK and (hard == resource.RLIM_INFINITY or hard >= _STACK):
        resource.setrlimit(resource.RLIMIT_STACK, (_STACK, hard))
        sys.setrecursionlimit(max(sys.getrecursionlimit(), _FRAMES))


def _lower(kind: int, limit: int) -> None:
    import resource

    _, hard = resource.getrlimit(kind)
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(kind, (limit, limit))


def _address_space() -> int:
    """Bytes of address space that this process already has: libraries and the interpreter, not the model."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0
