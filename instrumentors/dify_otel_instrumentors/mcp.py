"""Dify's own MCP client: a span and a duration for each request to an MCP server, and how long sessions lasted.

`BaseSession.send_request` waits in the caller's thread for what the session's own threads read: only the waiting is
inside the span. Nothing is added to the request: an MCP server is nobody of Dify's cluster.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from time import perf_counter
from typing import Any

from . import shapes
from .core import metrics
from .core.operation import Content, Error, Measure, Operation, Tap

_OPENED = "_dify_otel_opened"
_CALL = "tools/call"
_PARTS_MAX = 64
"""Parts of a tool's answer that are shown."""


def _asked(arguments: Mapping[str, Any]) -> tuple[str | None, Any]:
    """Method and parameters of a request; `ClientRequest` holds the request under `root`."""
    request = arguments.get("request")
    request = getattr(request, "root", request)
    return shapes.word(getattr(request, "method", None)), getattr(request, "params", None)


def _before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
    method, parameters = _asked(arguments)
    yield "mcp.method.name", method
    number = getattr(arguments.get("self"), "_request_id", None)
    yield "jsonrpc.request.id", str(number) if isinstance(number, int) else None
    if method == _CALL:
        yield "gen_ai.operation.name", "execute_tool"
        yield "gen_ai.tool.name", shapes.word(getattr(parameters, "name", None))
        yield "gen_ai.tool.call.arguments", Content(getattr(parameters, "arguments", None))
        yield "span_kind", "TOOL"


def _name(facts: Mapping[str, Any]) -> str:
    return f"{facts.get('mcp.method.name') or 'mcp'} {facts.get('gen_ai.tool.name') or ''}".rstrip()


def _after(call: Any, result: Any) -> Iterator[Any]:
    told = shapes.fields(result, ("isError", "content", "protocolVersion")) if result is not None else {}
    if told.get("isError") is True:
        call.error(Error("tool_error"))
    yield "mcp.protocol.version", shapes.word(told.get("protocolVersion"))
    parts = told.get("content")
    if isinstance(parts, list):
        kinds = [{"type": getattr(p, "type", None), "text": getattr(p, "text", None)} for p in parts[:_PARTS_MAX]]
        yield "gen_ai.tool.call.result", Content(kinds)
    labels = {
        "mcp.method.name": call.fact("mcp.method.name"),
        "gen_ai.tool.name": call.fact("gen_ai.tool.name"),
        "error.type": call.failed,
    }
    yield Measure("mcp.client.operation.duration", call.elapsed(), labels)


REQUEST = Operation(concept="mcp", name=_name, before=_before, after=_after, kind="client")


def _opening(arguments: Mapping[str, Any], enclosing: Any) -> None:
    """`MCPClient._initialize`: the session begins where the server is first spoken to."""
    setattr(arguments["self"], _OPENED, perf_counter())


def _closed(arguments: Mapping[str, Any], result: Any, enclosing: Any) -> None:
    """`MCPClient.__exit__`."""
    opened = vars(arguments["self"]).pop(_OPENED, None)
    if opened is not None:
        kind = getattr(arguments.get("exc_type"), "__name__", None)
        metrics.record("mcp.client.session.duration", perf_counter() - opened, {"error.type": kind})


OPENED = Tap(before=_opening)
CLOSED = Tap(after=_closed)
