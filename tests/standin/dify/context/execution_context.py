"""What a graph worker thread enters before it runs a node: contextvars and the application context of the producer."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Protocol


class IExecutionContext(Protocol):
    def __enter__(self) -> "IExecutionContext": ...

    def __exit__(self, *args: Any) -> None: ...

    @property
    def user(self) -> Any: ...


_capturer: Callable[[], IExecutionContext] | None = None


def register_context_capturer(capturer: Callable[[], IExecutionContext]) -> None:
    global _capturer
    _capturer = capturer


def capture_current_context() -> IExecutionContext:
    if _capturer is None:
        return nullcontext()  # type: ignore[return-value]
    return _capturer()
