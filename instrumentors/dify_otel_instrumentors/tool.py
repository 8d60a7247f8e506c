"""Tool executions: builtin, plugin, API, MCP, workflow and dataset tools, from agents and from workflow nodes.

`Tool.invoke` is the one place all of them pass. Agents call it through `ToolEngine.agent_invoke`, which swallows the
tool's error and answers text instead; that call is the span there, and `Tool.invoke` adds to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from . import agent, shapes
from .core import rules
from .core.operation import Content, Error, Measure, Operation

_TYPES = {"workflow": "function", "app": "function", "dataset-retrieval": "datastore"}


def _provider_type(tool: Any) -> str | None:
    kind = getattr(tool, "tool_provider_type", None)
    return shapes.word(kind()) if callable(kind) else None


def _served(tool: Any) -> Iterator[tuple[str, Any]]:
    """The host that an MCP tool is on; the requests to it are spans below."""
    url = getattr(tool, "server_url", None)
    if isinstance(url, str):
        parts = urlsplit(url)  # of the address the host only: its path and query may be what opens the server
        yield "server.address", parts.hostname
        yield "server.port", parts.port


def _before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
    # `Tool.invoke` is a method, `ToolEngine.agent_invoke` a static method with the tool as a parameter.
    tool = arguments.get("tool") or arguments.get("self")
    identity = getattr(getattr(tool, "entity", None), "identity", None)
    kind = _provider_type(tool)
    yield "gen_ai.operation.name", "execute_tool"
    yield "gen_ai.tool.name", shapes.word(getattr(identity, "name", None))
    yield "gen_ai.tool.type", _TYPES.get(kind or "", "extension")
    yield "dify.plugin.name", shapes.plugin(shapes.word(getattr(identity, "provider", None)))
    if kind == "mcp":
        yield from _served(tool)
    if enclosing is not None and enclosing.operation.concept != "tool":
        caller = enclosing.nearest("agent")
        if caller is not None:
            yield "gen_ai.agent.name", caller.fact("gen_ai.agent.name")
            yield "gen_ai.tool.call.id", agent.asked_as(caller, shapes.word(getattr(identity, "name", None)))
    yield "dify.tool.name", shapes.word(getattr(identity, "name", None))
    yield "dify.tool.provider_type", kind
    yield "dify.tool.provider_id", shapes.word(getattr(identity, "provider", None))
    description = getattr(getattr(tool, "entity", None), "description", None)
    yield "gen_ai.tool.description", shapes.word(getattr(description, "llm", None))
    yield "dify.message.id", shapes.word(arguments.get("message_id") or None)
    yield "gen_ai.conversation.id", shapes.word(arguments.get("conversation_id") or None)
    parameters = arguments.get("tool_parameters")
    yield "gen_ai.tool.call.arguments", Content(parameters)
    yield "dify.tool.inputs", Content(parameters)
    runtime = getattr(tool, "runtime", None)
    configured = getattr(runtime, "runtime_parameters", None)
    yield "dify.tool.parameters", Content(configured) if configured else None
    yield (
        "dify.tool.config",
        Content(
            {
                "tool_name": shapes.word(getattr(identity, "name", None)),
                "tool_provider": shapes.word(getattr(identity, "provider", None)),
                "tool_provider_type": kind,
                "tool_parameters": configured,
            }
        ),
    )


def _name(facts: Mapping[str, Any]) -> str:
    return f"execute_tool {facts.get('gen_ai.tool.name') or 'unknown'}"


def _opened(call: Any, arguments: Mapping[str, Any]) -> None:
    tool = arguments.get("tool") or arguments.get("self")
    identity = getattr(getattr(tool, "entity", None), "identity", None)
    call.state["name"] = shapes.word(getattr(identity, "name", None))
    call.state["kind"] = _provider_type(tool)
    agent = call.nearest("agent")
    if agent is not None and type(call).__name__ != "Merged":
        agent.state["tools"] = agent.state.get("tools", 0) + 1


_FILES = frozenset({"file", "image", "blob", "image_link", "binary_link"})
_KEPT_MAX = 64
_BEYOND = 1024
"""Characters kept behind the limit of content, for the encoder to see a secret whole that the limit falls into."""


def _during(call: Any, message: Any) -> None:
    kind = shapes.word(getattr(message, "type", None))
    if kind is None:
        return
    state = call.state
    state["messages"] = state.get("messages", 0) + 1
    if kind in _FILES:
        state["files"] = state.get("files", 0) + 1
        meta = getattr(message, "meta", None)
        file_id = meta.get("tool_file_id") if isinstance(meta, Mapping) else None
        if file_id and len(state.setdefault("file_ids", [])) < _KEPT_MAX:
            state["file_ids"].append(shapes.word(file_id))
    if rules.policy().content and len(state.setdefault("outputs", [])) < _KEPT_MAX:
        body = getattr(message, "message", None)
        text = getattr(body, "text", None)
        if kind in _FILES and isinstance(text, str):
            state.setdefault("urls", []).append(text[: rules.policy().content_limit + _BEYOND])
        value = text if text is not None else getattr(body, "json_object", body)
        if isinstance(value, str):  # a part, so that what is long is not kept alive until the last message
            value = value[: rules.policy().content_limit + _BEYOND]
        state["outputs"].append(value if isinstance(value, str | list | dict) else {"type": kind})


def _after(call: Any, result: Any) -> Iterator[Any]:
    state = call.state
    answer: Any = None
    if isinstance(result, tuple) and len(result) == 3:  # agent_invoke: text, message file ids, ToolInvokeMeta
        answer, files, meta = result
        error = getattr(meta, "error", None)
        if error and not call.failed:
            call.error(Error("ToolInvokeError", shapes.word(error)))
        cost = getattr(meta, "time_cost", None)
        yield "dify.tool.time_cost", shapes.number(cost)
        if files:
            yield "dify.message.file.id", [shapes.word(f) for f in files]
            yield "dify.tool.file_count", len(files)
    elif state.get("files"):
        yield "dify.tool.file_count", state["files"]
        yield "dify.message.file.id", state.get("file_ids")
    failure = call.failure
    if failure is not None:
        yield "dify.tool.error", Content(failure.text) if failure.text else None
    yield "dify.tool.duration", round(call.elapsed(), 6)
    outputs = answer if answer is not None else state.get("outputs")
    if outputs is not None:
        if isinstance(outputs, list) and len(outputs) == 1:
            outputs = outputs[0]
        yield "gen_ai.tool.call.result", Content(outputs)
        yield "dify.tool.outputs", Content(outputs)
    if state.get("urls"):
        yield "dify.tool.file_urls", Content(state["urls"])
    if type(call).__name__ == "Merged":
        return
    labels = {
        "gen_ai.tool.name": state.get("name"),
        "dify.tool.provider_type": state.get("kind"),
        "error.type": call.failed,
    }
    yield Measure("dify.tool.duration", call.elapsed(), labels)
    yield Measure(
        "gen_ai.execute_tool.duration",
        call.elapsed(),
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": state.get("name"),
            "gen_ai.tool.type": call.fact("gen_ai.tool.type"),
            "error.type": call.failed,
        },
    )
    shapes.blame(call)


EXECUTE = Operation(
    concept="tool",
    name=_name,
    before=_before,
    during=_during,
    after=_after,
    opened=_opened,
    span_kind="TOOL",
    merge=True,
)
