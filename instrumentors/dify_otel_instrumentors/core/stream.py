"""The relay: a generator that stands for another and makes a span current only while the source runs.

Dify creates generators in one context and drains them in another, so nothing may stay attached across a `yield`
(open-telemetry/opentelemetry-python-contrib#3937, gevent/gevent#1930). The relay keeps the whole generator protocol
(send, throw, close, drop) and finishes its call exactly once.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Protocol


class Observer(Protocol):
    """The part of a call that a relay needs. No method may raise."""

    def enter(self) -> Any: ...
    def leave(self, token: Any) -> None: ...
    def observe(self, item: Any) -> None: ...
    def finish(self, result: Any = None) -> None: ...
    def fail(self, error: BaseException) -> None: ...


def relay(source: Generator[Any, Any, Any], call: Observer) -> Generator[Any, Any, Any]:
    """Yield what `source` yields, return what it returns, raise what it raises; end `call` exactly once."""
    stream = _relay(source, call)
    next(stream)  # start it, so that dropping it unread still ends the span
    return stream


def _relay(source: Generator[Any, Any, Any], call: Observer) -> Generator[Any, Any, Any]:
    step: Any = source.send
    # Bound once: a model's answer passes here chunk by chunk.
    send, enter, leave, observe = source.send, call.enter, call.leave, call.observe
    value: Any
    try:
        value = yield
    except BaseException as error:
        step, value = source.throw, error
    while True:
        token = enter()
        try:
            item = step(value)
        except StopIteration as stop:
            leave(token)
            call.finish(stop.value)
            return stop.value
        except BaseException as error:
            leave(token)
            call.fail(error)
            raise
        leave(token)
        observe(item)
        try:
            value = yield item
            step = send
        except BaseException as error:
            step, value = source.throw, error
