"""The completion hook of OpenTelemetry's GenAI conventions: a person's own code that gets each model call's messages.

An entry point of the group `opentelemetry_genai_completion_hook`, named by the standard variable; `upload` of
opentelemetry-util-genai is one. It is loaded at the first call it is due for; what it raises is counted, not passed on.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

from dify_otel_instrumentors.core import content, guard

GROUP = "opentelemetry_genai_completion_hook"
CONTENT_MAX = 1_000_000
"""Characters of a call's messages that a hook is given."""

Hook = Callable[[Any], None]
_ABSENT = object()


def load(name: str) -> Any:
    """The hook object of that name; None when there is no such entry point or it cannot be made."""
    from importlib.metadata import entry_points

    found = [point for point in entry_points(group=GROUP) if point.name == name]
    if not found:
        names = ", ".join(sorted(point.name for point in entry_points(group=GROUP))) or "none is installed"
        _log().warning("completion hook %r is not an entry point of %s (%s)", name, GROUP, names)
        return None
    hook = found[0].load()()
    if not callable(getattr(hook, "on_completion", None)):
        _log().warning("completion hook %r has no on_completion", name)
        return None
    return hook


def hook(name: str) -> Hook | None:
    """What is to be called with each finished model call; None when no hook is asked for."""
    if not name:
        return None
    loaded: Any = _ABSENT

    def completed(call: Any) -> None:
        nonlocal loaded
        if loaded is _ABSENT:
            loaded = None  # also when loading fails: it is tried once
            loaded = load(name)
        if loaded is not None:
            loaded.on_completion(
                inputs=_messages(call, "gen_ai.input.messages", "InputMessage"),
                outputs=_messages(call, "gen_ai.output.messages", "OutputMessage"),
                system_instruction=[_part(part) for part in _plain(call, "gen_ai.system_instructions")],
                tool_definitions=_definitions(call),
                span=call.span,
                log_record=None,
            )

    def guarded(call: Any) -> None:
        try:
            completed(call)
        except Exception:
            guard.failed("completion.hook")

    return guarded


def _plain(call: Any, key: str) -> list[Any]:
    """A fact as plain data without secrets: what the encoder lets through, read back."""
    fact = call.fact(key)
    value = getattr(fact, "value", None)
    if value is None:
        return []
    read = json.loads(content.encode(value, CONTENT_MAX))
    return read if isinstance(read, list) else []


def _types() -> Any:
    import importlib

    try:
        return importlib.import_module("opentelemetry.util.genai.types")
    except ImportError:  # not in Dify's image: a hook that does without it gets plain mappings
        return None


_PARTS = {
    "text": ("TextPart", "Text"),
    "reasoning": ("ReasoningPart", "Reasoning"),
    "tool_call": ("ToolCallRequestPart", "ToolCallRequest", "ToolCall"),
    "tool_call_response": ("ToolCallResponsePart", "ToolCallResponse"),
    "uri": ("UriPart", "Uri"),
}
"""Names of a part's class in opentelemetry-util-genai, newest first."""


def _part(part: Any) -> Any:
    types = _types()
    for name in _PARTS.get(part.get("type"), ()):
        made = getattr(types, name, None)
        if made is not None:
            return made(**{k: v for k, v in part.items() if k != "type"})
    return part


def _messages(call: Any, key: str, kind: str) -> list[Any]:
    made = getattr(_types(), kind, None)
    out: list[Any] = []
    for message in _plain(call, key):
        parts = [_part(part) for part in message["parts"]]
        if made is None:
            out.append({**message, "parts": parts})
        elif kind == "OutputMessage":
            reasons = call.fact("gen_ai.response.finish_reasons") or ["stop"]
            out.append(made(role=message["role"], parts=parts, finish_reason=message.get("finish_reason", reasons[0])))
        else:
            out.append(made(role=message["role"], parts=parts))
    return out


def _definitions(call: Any) -> list[Any] | None:
    made = getattr(_types(), "FunctionToolDefinition", None)
    found = _plain(call, "gen_ai.tool.definitions")
    if made is None:
        return found or None
    return [
        made(name=d.get("name"), description=d.get("description"), parameters=d.get("parameters")) for d in found
    ] or None


def _log() -> logging.Logger:
    return logging.getLogger("dify_otel")
