"""Triggers (webhook, plugin, schedule) that start workflow runs: one span where the decision is made.

The run itself starts in a Celery worker; the trace goes there with the task's headers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from . import shapes
from .core.operation import Content, Operation


def _operation(kind: str) -> Operation:
    def before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
        trigger = arguments.get("webhook_trigger")
        yield "dify.trigger.type", kind
        yield "dify.trigger.id", shapes.word(shapes.column(trigger, "webhook_id") or arguments.get("endpoint_id"))
        yield "dify.trigger.node_id", shapes.word(shapes.column(trigger, "node_id"))
        yield "dify.trigger.schedule_id", shapes.word(arguments.get("schedule_id"))
        yield "dify.app_id", shapes.word(shapes.column(trigger, "app_id"))
        yield "dify.tenant_id", shapes.word(shapes.column(trigger, "tenant_id") or arguments.get("tenant_id"))
        yield "dify.trigger.payload", Content(arguments.get("webhook_data"))

    return Operation(
        concept="trigger",
        name=lambda facts: f"trigger {kind}",
        before=before,
        span_kind="ENTRY",
    )


WEBHOOK = _operation("webhook")
PLUGIN = _operation("plugin")
SCHEDULE = _operation("schedule")
