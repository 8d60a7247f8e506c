from opentelemetry.trace import SpanKind


class SpanHandler:
    """Called by keyword: `handler.wrapper(tracer=, wrapped=, args=, kwargs=)` until 1.13.3."""

    def wrapper(self, tracer, wrapped, args, kwargs):
        name = f"{wrapped.__module__}.{wrapped.__qualname__}"
        with tracer.start_as_current_span(name, kind=SpanKind.INTERNAL):
            return wrapped(*args, **kwargs)
