"""Forks: what OpenTelemetry's exporters may do in a child, which is to wait until they are needed.

The SDK starts a new exporting thread in every forked child. Under gevent the child of each subprocess call is such a
child until its `exec`, and starting a thread there switches to the hub: greenlets of the parent's requests would run a
second time, on the parent's sockets. So nothing is registered; a copy that goes on as Python starts its thread with its
first span, which every release of the SDK looks out for.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def nothing_registered() -> Iterator[None]:
    """While it lasts, what OpenTelemetry registers for forks is left out; anybody else's is registered."""
    original = os.register_at_fork

    def register(**wanted: Callable[[], Any]) -> None:
        kept = {when: call for when, call in wanted.items() if not _telemetrys(call)}
        if kept:
            original(**kept)

    os.register_at_fork = register  # type: ignore[assignment]
    try:
        yield
    finally:
        os.register_at_fork = original


def _telemetrys(call: Callable[[], Any]) -> bool:
    return (getattr(call, "__module__", None) or "").startswith("opentelemetry.")


def exporting(processor: Any) -> bool:
    """Whether this batch processor has its thread in this process, not only in the one this was forked from."""
    inner = getattr(processor, "_batch_processor", processor)
    return bool(getattr(inner, "_pid", os.getpid()) == os.getpid())
