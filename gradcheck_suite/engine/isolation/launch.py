"""Starting children from the parent: through a fork server, or one new interpreter each where there is no fork."""

import contextlib
import json
import multiprocessing.connection
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from gradcheck_suite.core.errors import GradcheckError
from gradcheck_suite.engine.isolation.surroundings import MARKER, scrubbed

_SERVER: Final = ("import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
                  "from gradcheck_suite.engine.isolation.server import main; main(int(sys.argv[2]), sys.argv[3:])")
_CHILD: Final = ("import json, sys; from pathlib import Path; sys.path[:] = json.loads(sys.argv[1]); "
                 "from gradcheck_suite.engine.isolation.child import main; main(Path(sys.argv[2]))")
PACKAGES: Final = ("gradcheck_suite.probes", "gradcheck_suite.captures", "gradcheck_suite.engine.isolation")
_FORKS: Final = hasattr(os, "fork") and sys.platform != "darwin"  # Apple's Accelerate and Objective-C run times abort in a forked child
_RECEIVE: Final = 1 << 16
_STARTS: Final = 2
_SWEPT: Final = 2.0


class ServerLost(GradcheckError):
    """The fork server is gone: a model may have killed its parent."""


class Launched(Protocol):
    """A child that was started."""

    pid: int

    def status(self, wait: float) -> int | None:
        """``None`` while it runs (after waiting up to so many seconds), else its exit code, negative for a signal.

        Raises:
            ServerLost: the fork server is gone, so the status will never be known.
        """

    def kill(self) -> None:
        """SIGKILL to its process group."""

    def sweep(self) -> None:
        """Kill what it left behind, where nobody else has; called after its end."""


def search_path() -> list[str]:
    """This process's module search path, with relative entries made absolute, so that children find what we find."""
    return list(dict.fromkeys(os.path.abspath(entry) for entry in sys.path))


class ForkServer:
    """The parent's end of one fork server."""

    def __init__(self, packages: Sequence[str], startup: float) -> None:
        self._packages, self._startup = packages, startup
        self._lock = threading.Lock()
        self._lost, self._received = False, b""
        self._started: dict[str, int] = {}
        self._ended: dict[str, int] = {}
        self.owner = os.getpid()
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-P", "-c", _SERVER, json.dumps(search_path()), str(theirs.fileno()), *packages]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                             stderr=subprocess.PIPE, start_new_session=True, env=scrubbed(os.environ))
        ours.setblocking(False)
        self._socket = ours

    @property
    def alive(self) -> bool:
        """Whether it still answers, as far as is known."""
        return not self._lost and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The server's process id: the parent of the children."""
        return self._process.pid

    def start(self, folder: Path, nonce: str) -> "Forked":
        """Fork a child for the job in that folder.

        Raises:
            ServerLost: the server died before it could.
        """
        with self._lock:
            try:  # told before it is ready: should this process be killed meanwhile, the server still removes the folder
                self._socket.sendall((json.dumps({"folder": str(folder), "nonce": nonce}) + "\n").encode("ascii"))
            except OSError:
                self._lost = True
            self._expect(lambda: nonce in self._started)
        return Forked(self, self._started[nonce], nonce)

    def ended(self, nonce: str, wait: float) -> int | None:
        """Wait status of that child, once it has ended."""
        with self._lock:
            if nonce not in self._ended:
                self._read(wait)
            if nonce in self._ended:
                return self._ended[nonce]
            if self._lost:
                raise ServerLost("the fork server was killed")
            return None

    def close(self) -> None:
        """End the server and, through it, every child."""
        with contextlib.suppress(OSError):
            self._socket.close()
        if self.owner == os.getpid():
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()

    def _expect(self, arrived: Any) -> None:
        deadline = time.monotonic() + self._startup
        while not arrived():
            self._read(0.1)
            if arrived():
                return
            if self._lost or time.monotonic() > deadline:
                self._lost = True
                raise ServerLost(f"the fork server did not answer{self._last_words()}")

    def _last_words(self) -> str:
        if self._process.poll() is None or self._process.stderr is None or self._process.stderr.closed:
            return ""
        text = self._process.stderr.read(4000).decode("utf-8", "replace").strip()
        return f": {text.splitlines()[-1]}" if text else ""

    def _read(self, wait: float) -> None:
        """Take in what the server said; waits up to ``wait`` seconds for something to come."""
        if self._lost:
            return
        try:
            readable = multiprocessing.connection.wait([self._socket], wait)
            data = self._socket.recv(_RECEIVE) if readable else None
        except (OSError, ValueError):
            data = b""
        if data is None:
            self._wake()
            return
        self._lost = not data
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            self._take(json.loads(line))

    def _wake(self) -> None:
        """Let it go on, should a model have stopped its parent."""
        if hasattr(signal, "SIGCONT") and self._process.returncode is None:
            with contextlib.suppress(OSError):
                os.kill(self._process.pid, signal.SIGCONT)

    def _take(self, said: Mapping[str, Any]) -> None:
        if "started" in said:
            self._started[said["nonce"]] = said["started"]
        if "ended" in said:
            self._ended[said["nonce"]] = os.waitstatus_to_exitcode(said["status"])


class Forked:
    """A child of the fork server."""

    def __init__(self, server: ForkServer, pid: int, nonce: str) -> None:
        self._server, self.pid, self._nonce = server, pid, nonce
        self._over = False

    def status(self, wait: float) -> int | None:
        """See ``Launched.status``."""
        code = self._server.ended(self._nonce, wait)
        self._over = self._over or code is not None
        return code

    def kill(self) -> None:
        """See ``Launched.kill``."""
        if not self._over:
            _kill(self.pid)

    def sweep(self) -> None:
        """See ``Launched.sweep``: the server has, unless it was killed or could not adopt."""
        if not (self._over and sys.platform == "linux"):
            sweep(self._nonce)


class Spawned:
    """A child with an interpreter of its own: slower by the import of torch."""

    def __init__(self, folder: Path, nonce: str) -> None:
        self._nonce = nonce
        command = [sys.executable, "-P", "-c", _CHILD, json.dumps(search_path()), str(folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                         env=scrubbed(os.environ), start_new_session=True)
        self.pid = self._process.pid

    def status(self, wait: float) -> int | None:
        """See ``Launched.status``."""
        try:
            return self._process.wait(wait)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """See ``Launched.kill``."""
        if self._process.poll() is None:
            _kill(self.pid)

    def sweep(self) -> None:
        """See ``Launched.sweep``."""
        sweep(self._nonce)


def _kill(pid: int) -> None:
    """SIGKILL to the process group that the child leads, and to the child should it not lead one yet."""
    kill = getattr(signal, "SIGKILL", signal.SIGTERM)
    if hasattr(os, "killpg"):
        with contextlib.suppress(OSError):
            if os.getpgid(pid) == pid:
                os.killpg(pid, kill)
    with contextlib.suppress(OSError):
        os.kill(pid, kill)


def sweep(nonce: str) -> None:
    """Kill every process whose environment bears a child's mark."""
    import psutil

    killed = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARKER) == nonce:
                process.kill()
                killed.append(process)
    psutil.wait_procs(killed, timeout=_SWEPT)


_servers: dict[tuple[str, ...], ForkServer] = {}
_servers_lock = threading.Lock()


def server(packages: Sequence[str], startup: float) -> ForkServer:
    """The fork server of this process for these packages; a new one where there is none, or where it was killed."""
    key = tuple(dict.fromkeys([*PACKAGES, *packages]))
    with _servers_lock:
        found = _servers.get(key)
        if found is None or not found.alive or found.owner != os.getpid():
            found = _servers[key] = ForkServer(key, startup)
        return found


def launch(folder: Path, nonce: str, packages: Sequence[str], startup: float, *, fork: bool | None = None) -> Launched:
    """Start the child whose job lies in the folder.

    A model may kill its parent, the server, while nobody looks: its next start then fails once and is tried again. Where no
    server can be started at all, the child gets an interpreter of its own.
    """
    for _ in range(_STARTS if (_FORKS if fork is None else fork) else 0):
        with contextlib.suppress(ServerLost):
            return server(packages, startup).start(folder, nonce)
    return Spawned(folder, nonce)
