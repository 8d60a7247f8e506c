"""Triggers (webhook, plugin, schedule) that start workflow runs: one span where the decision is made.

The run itself starts in a Celery worker; the trace goes there with the task's headers. Each run that is started makes a
span of its own (`STARTED`), which a webhook's span takes in: a plugin's event may start many, a schedule has no other.
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
        yield "dify.app_id", shapes.word(shapes.column(trigger, "app_id"))
        yield "dify.tenant_id", shapes.word(shapes.column(trigger, "tenant_id") or arguments.get("tenant_id"))
        payload = arguments.get("webhook_data")
        yield "dify.trigger.payload", Content(payload) if payload is not None else None

    return Operation(
        concept="trigger",
        name=lambda facts: f"trigger {kind}",
        before=before,
        span_kind="ENTRY",
    )


WEBHOOK = _operation("webhook")
PLUGIN = _operation("plugin")


def _started_before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
    data = arguments.get("trigger_data")
    kind = shapes.word(getattr(data, "trigger_type", None)) or "unknown"
    yield "dify.trigger.type", kind.removeprefix("trigger-")
    yield "dify.trigger.node_id", shapes.word(getattr(data, "root_node_id", None))
    plugin = shapes.word(getattr(data, "plugin_id", None))
    yield "dify.trigger.plugin_id", shapes.plugin(plugin) or plugin  # Dify fills it with the provider's id
    endpoint = shapes.word(getattr(data, "endpoint_id", None))
    yield "dify.trigger.id", endpoint or (enclosing.fact("dify.trigger.id") if enclosing is not None else None)
    metadata = getattr(data, "trigger_metadata", None)
    yield "dify.trigger.provider", shapes.word(getattr(metadata, "provider_id", None))
    yield "dify.trigger.event", shapes.word(getattr(metadata, "event_name", None))
    yield "dify.triggered_from", shapes.word(getattr(data, "trigger_from", None))
    yield "dify.workflow.id", shapes.word(getattr(data, "workflow_id", None))
    yield "dify.app_id", shapes.word(getattr(data, "app_id", None))
    yield "dify.tenant_id", shapes.word(getattr(data, "tenant_id", None))
    yield "dify.trigger.inputs", Content(getattr(data, "inputs", None))


def _started_after(call: Any, result: Any) -> Iterator[Any]:
    yield "dify.trigger.log_id", shapes.word(getattr(result, "workflow_trigger_log_id", None))
    yield "dify.trigger.queue", shapes.word(getattr(result, "queue", None))


STARTED = Operation(
    concept="trigger",
    name=lambda facts: f"trigger {facts.get('dify.trigger.type')}",
    before=_started_before,
    after=_started_after,
    span_kind="ENTRY",
    merge=True,
)
