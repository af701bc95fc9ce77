"""Watching the children that a test starts."""

import contextlib
from typing import Any

import psutil
import pytest

from gradcheck_suite.engine.isolation import parent
from gradcheck_suite.engine.isolation.surroundings import MARKER


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[parent.Child]:
    """A list that every child started from now on joins."""
    started: list[parent.Child] = []
    make = parent.Child.__init__

    def remembered(self: parent.Child, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        started.append(self)

    monkeypatch.setattr(parent.Child, "__init__", remembered)
    return started


def left_by(children: list[parent.Child]) -> list[psutil.Process]:
    """Running processes that bear the mark of one of these children: what the model started (a mark is seen after exec)."""
    nonces = {child._nonce for child in children}
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARKER) in nonces and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found
