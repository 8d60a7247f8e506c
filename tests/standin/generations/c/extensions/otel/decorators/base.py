import functools

from extensions.otel.runtime import is_instrument_flag_enabled

_HANDLER_INSTANCES: dict = {}


def _get_handler_instance(handler_class):
    if handler_class not in _HANDLER_INSTANCES:
        _HANDLER_INSTANCES[handler_class] = handler_class()
    return _HANDLER_INSTANCES[handler_class]


def trace_span(handler_class=None):
    def decorator(func):
        @functools.wraps(func)
        def wrapper(*args, **kwargs):
            if not is_instrument_flag_enabled():
                return func(*args, **kwargs)
            from opentelemetry.trace import get_tracer

            from extensions.otel.decorators.handler import SpanHandler

            handler = _get_handler_instance(handler_class or SpanHandler)
            return handler.wrapper(tracer=get_tracer(__name__), wrapped=func, args=args, kwargs=kwargs)

        return wrapper

    return decorator
