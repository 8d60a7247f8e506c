"""Makes the span of a function under `trace_span`. Called as `handler.wrapper(tracer, wrapped, *args, **kwargs)`."""

import inspect
from collections.abc import Callable
from typing import Any

from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer


class SpanHandler:
    _signature_cache: dict[Callable[..., object], inspect.Signature] = {}

    def _build_span_name(self, wrapped: Callable[..., Any]) -> str:
        return f"{wrapped.__module__}.{wrapped.__qualname__}"

    def _extract_arguments(self, wrapped: Callable[..., Any], *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        try:
            signature = self._signature_cache.setdefault(wrapped, inspect.signature(wrapped))
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            return bound.arguments
        except TypeError:
            return None

    def _attributes(self, arguments: dict[str, Any] | None) -> dict[str, Any]:
        return {}

    def wrapper(self, tracer: Tracer, wrapped: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        attributes = self._attributes(self._extract_arguments(wrapped, *args, **kwargs))
        name = self._build_span_name(wrapped)
        with tracer.start_as_current_span(name, kind=SpanKind.INTERNAL, attributes=attributes) as span:
            try:
                result = wrapped(*args, **kwargs)
            except Exception as exc:
                span.record_exception(exc)
                span.set_status(Status(StatusCode.ERROR, str(exc)))
                raise
            span.set_status(Status(StatusCode.OK))
            return result
