"""Ends that the garbage collector brings about: a stream nobody holds any more is closed wherever it happens to run.

That may be in the middle of the SDK's own code, with a lock held that is not reentrant: to record a point or end a span
there and then would stop the thread for ever. What is left to do waits until somebody calls from outside of it.
"""

from __future__ import annotations

import gc
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from . import guard

WAITING_MAX = 1000
"""Ends that may wait; of more, the oldest are given up."""

_waiting: deque[tuple[Callable[[Any], None], Any]] = deque(maxlen=WAITING_MAX)
_collecting: int | None = None


def _phase(phase: str, info: Any) -> None:
    global _collecting
    _collecting = threading.get_ident() if phase == "start" else None


def watch() -> None:
    """From now on be told when the collector runs."""
    if _phase not in gc.callbacks:
        gc.callbacks.append(_phase)


def forget() -> None:
    """Undo `watch`, and give up what waits."""
    global _collecting
    if _phase in gc.callbacks:
        gc.callbacks.remove(_phase)
    _collecting = None
    _waiting.clear()


def now() -> bool:
    """Whether the collector runs this code."""
    return _collecting is not None and _collecting == threading.get_ident()


def later(end: Callable[[Any], None], value: Any) -> None:
    """Have `end(value)` called by the next `catch_up`."""
    _waiting.append((end, value))


def catch_up() -> None:
    """Do what waits. Never raises."""
    while _waiting and not now():
        try:
            end, value = _waiting.popleft()
        except IndexError:  # another thread was quicker
            return
        try:
            end(value)
        except Exception:
            guard.failed("collected.end")
