"""Whose spans: when Dify can make app and node spans itself, exactly one of us does.

Dify's decorators (`trace_span`, 1.11.0 and later) and its node layer (`ObservabilityLayer`, 1.11.2 and later) work when
`ENABLE_OTEL` or `ENABLE_OTEL_FOR_INSTRUMENT` is set. By default ours replace theirs: they are made inert, not removed.
"""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

from dify_otel.settings import Settings

LAYERS = (
    "core.workflow.graph_engine.layers.observability",  # 1.11.2-1.11.4
    "core.app.workflow.layers.observability",  # 1.12.0-
)
DECORATORS = "extensions.otel.decorators.base"


def hook(settings: Settings) -> None:
    """Make Dify's own app, node and retrieval spans inert once their modules are imported."""
    from dify_otel_instrumentors.core import hooks

    if settings.native_spans == "dify":
        return
    for module in LAYERS:
        hooks.after_import(module, _silence_layer)
    hooks.after_import(DECORATORS, _silence_decorators)


def _silence_layer(module: ModuleType) -> None:
    layer = getattr(module, "ObservabilityLayer", None)
    original = getattr(layer, "_init_tracer", None)
    if layer is None or original is None:
        return

    @functools.wraps(original)
    def init_tracer(self: Any) -> None:
        self._is_disabled = True

    layer._init_tracer = init_tracer


def _silence_decorators(module: ModuleType) -> None:
    class Through:
        """Stands for a span handler: only calls. The shape of the call changed in 1.14.0."""

        def wrapper(self, tracer: Any, wrapped: Any, *args: Any, **kwargs: Any) -> Any:
            if not args and set(kwargs) == {"args", "kwargs"}:
                return wrapped(*kwargs["args"], **kwargs["kwargs"])
            return wrapped(*args, **kwargs)

    through = Through()
    if hasattr(module, "_get_handler_instance"):
        module._get_handler_instance = lambda handler_class: through  # type: ignore[attr-defined]
