"""The fork server: a process with torch imported and one thread, which forks a child per job and reaps it.

It never runs a tensor operation or code of the user's. The parent writes one line of JSON per job to a socket; the server
answers with ``started`` and, when the child has ended, ``ended`` and its wait status. It adopts the processes that a child leaves
behind (Linux) and kills them. When the parent is gone, the socket ends, and so do the children, their files and the server.
"""

import contextlib
import ctypes
import gc
import json
import os
import select
import shutil
import signal
import socket
import time
from pathlib import Path
from typing import Any, Final

from gradcheck_suite.engine.isolation import child
from gradcheck_suite.engine.isolation.surroundings import MARKER

_PR_SET_CHILD_SUBREAPER: Final = 36
_SWEEPS: Final = 100
_PAUSE: Final = 0.005
_RECEIVE: Final = 1 << 16


def main(descriptor: int, packages: list[str]) -> None:
    """Serve the socket with that descriptor until it ends."""
    for name in ("SIGTERM", "SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    child.preload(packages)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    _be_silent()
    gc.collect()
    gc.freeze()
    Server(socket.socket(fileno=descriptor)).serve()


def _be_silent() -> None:
    """Nobody reads this process's stderr once it is ready: a full pipe would stop it."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)


class Server:
    """The loop of the fork server."""

    def __init__(self, parent: socket.socket) -> None:
        self._parent = parent
        self._children: dict[int, str] = {}
        self._folders: set[str] = set()
        self._received = b""
        self._bell, ringer = os.pipe()
        for end in (self._bell, ringer):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(ringer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> None:
        """Answer requests until the parent's end of the socket is closed."""
        while True:
            waiting: list[Any] = [self._parent, self._bell]
            readable, _, _ = select.select(waiting, [], [])
            if self._bell in readable:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._bell, _RECEIVE)
                self._reap()
            if self._parent in readable and not self._requests():
                break
        for pid in list(self._children):
            _kill_group(pid)
            with contextlib.suppress(OSError):  # it may not lead its group yet
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        self._sweep("")
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)

    def _requests(self) -> bool:
        try:
            data = self._parent.recv(_RECEIVE)
        except OSError:
            data = b""
        if not data:
            return False
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            self._start(json.loads(line))
        return True

    def _start(self, request: dict[str, Any]) -> None:
        pid = os.fork()
        if pid == 0:
            try:
                self._parent.close()
                os.close(self._bell)
                child.main(Path(request["folder"]))
            finally:
                os._exit(70)
        self._children[pid] = request["nonce"]
        self._folders.add(request["folder"])
        self._say(started=pid, nonce=request["nonce"])

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            nonce = self._children.pop(pid, None)
            if nonce is not None:
                _kill_group(pid)
                self._sweep(nonce)
                self._say(ended=pid, status=status, nonce=nonce)

    def _sweep(self, nonce: str) -> None:
        """Kill what ended children left behind: adopted processes that bear their mark, or any where no child is left."""
        for _ in range(_SWEEPS):
            left = [pid for pid in _own_children() if pid not in self._children and (not self._children or _bears(pid, nonce))]
            if not left:
                return
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
                with contextlib.suppress(OSError):
                    os.waitpid(pid, os.WNOHANG)
            time.sleep(_PAUSE)

    def _say(self, **fields: Any) -> None:
        with contextlib.suppress(OSError):
            self._parent.sendall((json.dumps(fields) + "\n").encode("ascii"))


def _kill_group(pid: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)


def _own_children() -> list[int]:
    try:
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split()]
    except OSError:
        import psutil

        return [process.pid for process in psutil.Process().children()]


def _bears(pid: int, nonce: str) -> bool:
    try:
        return f"{MARKER}={nonce}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
