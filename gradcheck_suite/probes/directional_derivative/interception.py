"""Interception: every call of a ``torch.nn.Module`` goes through a handler while the context is open.

The class's ``__call__`` is replaced, not the modules' hooks: the user's hooks stay as they are, run as they do, and are
part of the call that the handler sees.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

Proceed = Callable[..., Any]
Handler = Callable[[Proceed, nn.Module, tuple[Any, ...], dict[str, Any]], Any]


@contextmanager
def intercepted(handler: Handler) -> Iterator[None]:
    """Route module calls of this thread through ``handler(proceed, module, args, kwargs)``; nests."""
    before = nn.Module.__call__
    thread = threading.get_ident()

    def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() != thread:
            return before(module, *args, **kwargs)
        return handler(before, module, args, kwargs)

    nn.Module.__call__ = call  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.__call__ = before  # type: ignore[method-assign]
