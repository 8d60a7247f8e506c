"""What a message's row says at the end of a turn: tokens, price, latency, status, and how it failed.

Dify writes the row in the consumer of the run, after the model has long finished; the facts go to the app's span. Only
loaded columns are read, inside the transaction that has just written them, and nothing is kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from . import shapes
from .core import rules
from .core.operation import Content, Error, Tap


def _row(session: Any, message_id: Any) -> Any:
    """The message in the session's identity map: no query is made."""
    identity_map = getattr(session, "identity_map", None)
    if identity_map is None:
        registry = getattr(session, "registry", None)  # scoped_session
        identity_map = getattr(registry() if callable(registry) else None, "identity_map", None)
    for row in list(identity_map.values())[:512] if identity_map is not None else ():
        if type(row).__name__ == "Message" and shapes.column(row, "id") == message_id:
            return row
    return None


def _facts(row: Any, pipeline: Any) -> Iterator[tuple[str, Any]]:
    column = shapes.column
    tokens_in, tokens_out = column(row, "message_tokens"), column(row, "answer_tokens")
    yield "dify.message.tokens", tokens_in
    yield "dify.message.answer_tokens", tokens_out
    if isinstance(tokens_in, int) and isinstance(tokens_out, int):
        yield "dify.message.total_tokens", tokens_in + tokens_out
    price = shapes.number(column(row, "total_price"))
    if price:
        yield "dify.message.total_price", price
        yield "dify.message.currency", shapes.word(column(row, "currency"))
    yield "dify.message.latency", shapes.number(column(row, "provider_response_latency"))
    yield "dify.message.status", shapes.word(column(row, "status")) or "normal"
    yield "dify.message.from_source", shapes.word(column(row, "from_source"))
    yield "dify.message.from_end_user_id", rules.person(shapes.word(column(row, "from_end_user_id")))
    yield "dify.message.from_account_id", rules.person(shapes.word(column(row, "from_account_id")))
    mode = shapes.word(getattr(pipeline, "_conversation_mode", None))
    yield "dify.conversation.mode", mode
    yield "dify.message.agent_based", mode in ("agent-chat", "agent")
    yield "dify.workflow.run_id", shapes.word(column(row, "workflow_run_id"))
    yield "dify.conversation.model", shapes.word(column(row, "model_id"))
    yield "dify.message.inputs", Content(column(row, "message") or column(row, "query"))
    yield "dify.message.outputs", Content(column(row, "answer"))
    resources = _resources(column(row, "message_metadata"))
    if resources is not None:
        yield "dify.message.retriever_resource_count", resources


_METADATA_MAX = 1_000_000


def _resources(metadata: Any) -> int | None:
    if not isinstance(metadata, str) or len(metadata) > _METADATA_MAX:
        return None
    try:
        resources = json.loads(metadata).get("retriever_resources")
    except (ValueError, AttributeError):
        return None
    return len(resources) if isinstance(resources, list) else None


def _saved(arguments: Mapping[str, Any], result: Any, enclosing: Any) -> None:
    pipeline = arguments.get("self")
    call = enclosing.nearest("app") if enclosing is not None else None
    if call is None:
        return
    message_id = getattr(pipeline, "_message_id", None)
    row = _row(arguments.get("session"), message_id)
    if row is not None:
        call.tell(_facts(row, pipeline))
    usage = getattr(getattr(getattr(pipeline, "_task_state", None), "llm_result", None), "usage", None)
    first = shapes.number(getattr(usage, "time_to_first_token", None))
    if first:
        call.tell([("dify.message.time_to_first_token", first)])


SAVED = Tap(after=_saved)


def _failed(arguments: Mapping[str, Any], result: Any, enclosing: Any) -> None:
    """`handle_error`: the run's exception, as the consumer received it, and what the user is told."""
    event = arguments.get("event")
    error = getattr(event, "error", None)
    call = enclosing.nearest("app") if enclosing is not None else None
    if call is None or error is None:
        return
    kind = type(error).__name__
    text = shapes.word(getattr(result, "description", None) or result)
    call.error(Error(kind, text))
    call.tell([("dify.message.status", "error"), ("dify.message.error", Content(text))])


FAILED = Tap(after=_failed)
