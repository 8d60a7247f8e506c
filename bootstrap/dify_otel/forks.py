"""Forks: what OpenTelemetry's exporters may do in a child, which is to wait until they are needed.

The SDK starts a new exporting thread in every forked child. Under gevent the child of each subprocess call is such a
child until its `exec`, and starting a thread there switches to the hub: greenlets of the parent's requests would run a
second time, on the parent's sockets. So nothing of the SDK's is registered; a copy that goes on as Python starts its
thread with its first span, which every release of the SDK looks out for. What that thread then exports with is made
new as well: a lock or a connection of the parent's is of no use to it.
"""

from __future__ import annotations

import contextlib
import copy

# What the first HTTP export would import, in its own thread: a copy made meanwhile would wait for it forever.
import encodings.idna  # noqa: F401
import functools
import netrc  # noqa: F401
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
    """From now on a forked copy of this process has these exporters as if they were new, and records no metrics.

    OpenTelemetry's gRPC exporters hold a lock while they export (1.28 does, 1.41 does not): a copy made meanwhile would
    wait for it forever. Its HTTP exporters keep their connection: parent and copy would read each other's answers. The
    SDK's metrics have locks too, for which Dify's own calls in the copy would wait; nobody would send its points.
    """
    global _exporters, _registered
    _exporters = tuple(exporters)
    if not _registered:
        _registered = True
        os.register_at_fork(after_in_child=_renew)


def _renew() -> None:
    # On the way to `exec` too: nothing here may wait, start or switch. So the exporters wait for their first export.
    try:
        metrics.configure(None)
        for exporter in _exporters:
            exporter.export = functools.partial(_first, exporter)
    except Exception:
        guard.failed("forks.renew")


def _first(exporter: Any, batch: Any) -> Any:
    """The first export of a copy, in its own thread, of which the SDK has one an exporter."""
    del exporter.export
    try:
        if hasattr(exporter, "_export_lock"):
            exporter._export_lock = threading.Lock()
        session = getattr(exporter, "_session", None)
        if session is not None:
            # An adapter's copy has its settings and no connections.
            session.adapters = type(session.adapters)((at, copy.copy(a)) for at, a in session.adapters.items())
    except Exception:
        guard.failed("forks.first")
    return exporter.export(batch)


def exporting(processor: Any) -> bool:
    """Whether this batch processor has its thread in this process, not only in the one this was forked from."""
    inner = getattr(processor, "_batch_processor", processor)
    return bool(getattr(inner, "_pid", os.getpid()) == os.getpid())
