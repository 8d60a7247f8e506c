"""Where the current call is kept, and how it is carried to threads that Dify starts without context.

Patched threads and greenlets start with an empty context (gevent 24.11-26.4). Only OpenTelemetry's context is carried,
and only into code of Dify's own packages: a carrier on every thread would make endless chains of timers children of the
request that happened to start the first.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace

from . import guard

CALL = otel_context.create_key("dify-otel-call")

CARRIED = ("core.", "services.", "tasks.", "graphon.", "dify_graph.")
NOT_CARRIED = ("core.ops.",)
"""`core.ops` re-arms a timer for ever: carried, it would keep its first request's span as parent for ever."""

_originals: dict[str, Any] = {}


def current() -> Any:
    """The innermost call of ours around this code, or None."""
    return otel_context.get_value(CALL)


def carried(function: Callable[..., Any], context: Any) -> Callable[..., Any]:
    """`function`, run in `context` wherever it is called."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            token = otel_context.attach(context)
        except Exception:
            guard.failed("context.attach")
            return function(*args, **kwargs)
        try:
            return function(*args, **kwargs)
        finally:
            try:
                otel_context.detach(token)
            except Exception:
                guard.failed("context.detach")

    return run


def _inside() -> bool:
    """A call of ours, or a request or task without one: a knowledge pipeline's task hands its runs to a pool itself."""
    return current() is not None or trace.get_current_span().get_span_context().is_valid


def _wanted(function: Any) -> bool:
    module = getattr(function, "__module__", None) or ""
    return module.startswith(CARRIED) and not module.startswith(NOT_CARRIED)


def carry_into_threads() -> None:
    """Wrap `Thread.start` and `ThreadPoolExecutor.submit` so that Dify's own hand-offs keep the current call."""
    if _originals:
        return
    start = threading.Thread.start
    submit = ThreadPoolExecutor.submit

    @functools.wraps(start)
    def carrying_start(self: threading.Thread) -> None:
        try:
            # A Timer keeps its callable under `function`; a subclass that overrides run() has no target.
            target = getattr(self, "function", None) or getattr(self, "_target", None) or type(self)
            if _wanted(target) and _inside():
                self.run = carried(self.run, otel_context.get_current())  # type: ignore[method-assign]
        except Exception:
            guard.failed("context.thread")
        return start(self)

    @functools.wraps(submit)  # type: ignore[arg-type]
    def carrying_submit(self: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        try:
            if _wanted(fn) and _inside():
                fn = carried(fn, otel_context.get_current())
        except Exception:
            guard.failed("context.submit")
        return submit(self, fn, *args, **kwargs)

    threading.Thread.start = carrying_start  # type: ignore[method-assign]
    ThreadPoolExecutor.submit = carrying_submit  # type: ignore[method-assign, assignment]
    _originals.update(start=start, submit=submit)


def leave_threads_alone() -> None:
    """Undo `carry_into_threads`."""
    if _originals:
        threading.Thread.start = _originals.pop("start")  # type: ignore[method-assign]
        ThreadPoolExecutor.submit = _originals.pop("submit")  # type: ignore[method-assign]
