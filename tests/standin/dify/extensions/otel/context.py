"""Carries the OpenTelemetry context (and nothing else) into another thread, as 1.16.1 does for retrieval."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from opentelemetry import context as otel_context

P = ParamSpec("P")
R = TypeVar("R")


def propagate_context(func: Callable[P, R]) -> Callable[P, R]:
    captured = otel_context.get_current()

    @functools.wraps(func)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        token = otel_context.attach(captured)
        try:
            return func(*args, **kwargs)
        finally:
            otel_context.detach(token)

    return wrapper
