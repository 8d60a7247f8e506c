"""Code that Dify sends to its sandbox: code nodes, template nodes and Jinja prompts."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from . import shapes
from .core.operation import Content, Measure, Operation

_HOME = "core.helper.code_executor.code_executor"


def _server() -> Iterator[tuple[str, Any]]:
    # A yarl URL; read where Dify keeps it, so that this is what it asks.
    url = getattr(sys.modules.get(_HOME), "code_execution_endpoint_url", None)
    yield "server.address", shapes.word(getattr(url, "host", None))
    port = getattr(url, "port", None)
    yield "server.port", port if isinstance(port, int) else None


def _before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
    yield "dify.code.language", shapes.word(arguments.get("language"))
    code = arguments.get("code")
    yield "dify.code.bytes", len(code) if isinstance(code, str) else None
    yield "dify.code.preload", bool(arguments.get("preload"))
    yield from _server()
    yield "dify.code.source", Content(code)


def _opened(call: Any, arguments: Mapping[str, Any]) -> None:
    call.state["language"] = shapes.word(arguments.get("language"))


def _after(call: Any, result: Any) -> Iterator[Any]:
    if isinstance(result, str):
        yield "dify.code.output", Content(result)
    labels = {"dify.code.language": call.state.get("language")}
    yield Measure("dify.sandbox.duration", call.elapsed(), {**labels, "error.type": call.failed})
    if call.failed:
        yield Measure("dify.sandbox.errors", 1, {**labels, "error.type": call.failed})
    shapes.blame(call)


EXECUTE = Operation(
    concept="sandbox",
    name=lambda facts: f"code_execution {facts.get('dify.code.language') or ''}".rstrip(),
    before=_before,
    after=_after,
    opened=_opened,
    kind="client",
)
