"""Forks: what OpenTelemetry's exporters may do in a child, which is to wait until they are needed.

The SDK starts a new exporting thread in every forked child. Under gevent the child of each subprocess call is such a
child until its `exec`, and starting a thread there switches to the hub: greenlets of the parent's requests would run a
second time, on the parent's sockets. So nothing of the SDK's is registered; a copy that goes on as Python starts its
thread with its first span, which every release of the SDK looks out for.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from dify_otel_instrumentors.core import guard, metrics

_exporters: tuple[Any, ...] = ()
_registered = False


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


def renew(exporters: Iterable[Any]) -> None:
    """From now on a forked copy of this process has these exporters with no lock held, and records no metrics.

    OpenTelemetry's gRPC exporters hold a lock while they export (1.28 does, 1.41 does not): a copy made meanwhile would
    wait for it forever. The SDK's metrics have locks too, for which Dify's own calls in the copy would wait; nobody
    would send its points anyway.
    """
    global _exporters, _registered
    _exporters = tuple(exporters)
    if not _registered:
        _registered = True
        os.register_at_fork(after_in_child=_renew)


def _renew() -> None:
    # On the way to `exec` too: nothing here may wait, start or switch.
    try:
        metrics.configure(None)
        for exporter in _exporters:
            if hasattr(exporter, "_export_lock"):
                exporter._export_lock = threading.Lock()
    except Exception:
        guard.failed("forks.renew")


def exporting(processor: Any) -> bool:
    """Whether this batch processor has its thread in this process, not only in the one this was forked from."""
    inner = getattr(processor, "_batch_processor", processor)
    return bool(getattr(inner, "_pid", os.getpid()) == os.getpid())
