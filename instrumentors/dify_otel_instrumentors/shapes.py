"""Shape probes: reads of Dify's objects that differ between releases or could cost Dify something.

Attributes are probed, never versions compared. Database rows are read from their loaded columns only: an attribute read
on an expired or detached SQLAlchemy object would run a query, or raise, inside somebody else's transaction.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any


def column(row: Any, name: str) -> Any:
    """A loaded column of a database row, else None. Works for plain objects and mappings too."""
    if row is None:
        return None
    if isinstance(row, Mapping):
        return row.get(name)
    values = getattr(row, "__dict__", None)
    if values is not None and name in values:
        return values[name]
    if values is not None and "_sa_instance_state" in values:
        return None
    return getattr(row, name, None)


def key(row: Any) -> str | None:
    """A database row's id, also where its columns are not loaded: SQLAlchemy knows which row it is."""
    value = column(row, "id")
    if value is None:
        identity = getattr(column(row, "_sa_instance_state"), "identity", None)
        value = identity[0] if identity else None
    return word(value)


def fields(holder: Any, names: Iterable[str]) -> Mapping[str, Any]:
    """What an object holds under these names. A pydantic model is not asked for what it lacks: its answer is slow."""
    values = getattr(holder, "__dict__", None)
    if type(values) is not dict:
        return holder if isinstance(holder, Mapping) else {name: getattr(holder, name, None) for name in names}
    extra = getattr(holder, "__pydantic_extra__", None)
    return {**values, **extra} if type(extra) is dict else values


def first(holder: Any, *names: str) -> Any:
    """The first of several attributes (newest name first) that exists and is not None."""
    for name in names:
        value = getattr(holder, name, None)
        if value is not None:
            return value
    return None


def entry(values: Mapping[Any, Any], *keys: str) -> Any:
    """The first of several keys (newest first) that has a value."""
    return next((values[key] for key in keys if values.get(key) is not None), None)


def word(value: Any) -> str | None:
    """An enumeration member, UUID or string as a string."""
    if type(value) is str or value is None:
        return value
    value = getattr(value, "value", value)
    return value if type(value) is str else str(value)


def number(value: Any) -> float | None:
    """A Decimal, int or float as a float."""
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None


def plugin(provider: str | None) -> str | None:
    """The plugin that a provider (`organisation/plugin/provider`) is of; None for Dify's own."""
    return provider.rsplit("/", 1)[0] if provider and provider.count("/") == 2 else None


def counted(values: Any) -> int | None:
    """How many a list or tuple holds; None for anything else."""
    return len(values) if isinstance(values, (list, tuple)) else None


def pipeline_triggered_from(invoke_from: str | None) -> str:
    """As the run record of a knowledge pipeline has it."""
    return "rag-pipeline-debugging" if invoke_from == "debugger" else "rag-pipeline-run"


def is_account(user: Any) -> bool:
    """Whether the `user` of a request is a console account (else an end user)."""
    # Many releases hand over flask-login's proxy of the account: its class is the account's, its type is not.
    return getattr(user, "__class__", type(user)).__name__ == "Account"


def run_context(node: Any) -> Any:
    """The ids of a node's run: on the node itself until 1.13.0, in the engine's run context afterwards."""
    context = getattr(node, "run_context", None)
    if isinstance(context, Mapping):
        return context.get("_dify") or node
    return node


def workflow_run_id(runtime_state: Any) -> str | None:
    """`sys.workflow_run_id` from an engine's variable pool."""
    pool = getattr(runtime_state, "variable_pool", None)
    if pool is None:
        return None
    variable = pool.get(("sys", "workflow_run_id"))
    return word(getattr(variable, "value", None))


SSE_EVENTS_READ = frozenset(
    {"workflow_started", "workflow_finished", "workflow_paused", "message_end", "error", "human_input_required"}
)
SSE_CHUNKS = frozenset({"message", "agent_message", "text_chunk", "agent_thought"})
_SSE_MAX = 1_000_000


def sse_name(item: Any) -> str | None:
    """The event's name of one item of a streamed answer, read without parsing it."""
    if type(item) is not str:
        return word(item.get("event")) if isinstance(item, Mapping) else None
    if not item.startswith("data:"):
        return None
    at = item.find('"event"', 5, 32)
    if at < 0:
        return None
    start = item.find('"', at + 7, at + 12)
    end = item.find('"', start + 1, start + 48)
    return item[start + 1 : end] if start > 0 and end > 0 else None


def sse_body(item: Any) -> Mapping[str, Any]:
    """The parsed body of one item of a streamed answer; empty when it is too large or is not JSON."""
    if isinstance(item, Mapping):
        return item
    if len(item) > _SSE_MAX:
        return {}
    try:
        body = json.loads(item[5:])
    except ValueError:
        return {}
    return body if isinstance(body, Mapping) else {}


FILES_MAX = 64
"""Files of a request that are described; further ones are not."""


def file_facts(files: Any) -> list[dict[str, Any]]:
    """`[{id, type, transfer_method, mime_type, size}]` of a request's files; urls are content and stay out."""
    facts = []
    for file in list(files or ())[:FILES_MAX]:
        identity = next((v for n in ("related_id", "upload_file_id", "id") if (v := column(file, n)) is not None), None)
        facts.append(
            {
                "id": word(identity),
                "type": word(column(file, "type")),
                "transfer_method": word(column(file, "transfer_method")),
                "mime_type": word(column(file, "mime_type")),
                "size": column(file, "size"),
            }
        )
    return facts


def blame(call: Any) -> None:
    """Tell the node around a failed call what went wrong: engines name any exception of theirs alike."""
    if call.failed:
        node = call.nearest("node")
        if node is not None:
            node.state["cause"] = call.failed
