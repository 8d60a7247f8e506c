"""Dify's prompt messages in the shape of OpenTelemetry's GenAI JSON schemas (input, output, system, tool definitions).

Files appear as references without their bytes, and with signed URL parameters scrubbed by the encoder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from . import shapes

_ARGUMENTS_MAX = 65_536

_MODALITY = {"image": "image", "audio": "audio", "video": "video", "document": "document"}


def plain(content: Any) -> str:
    """A message's content as text: a string, or the text parts of a list of parts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list | tuple):
        parts = [getattr(part, "data", None) for part in content if shapes.word(getattr(part, "type", None)) == "text"]
        return "".join(p for p in parts if isinstance(p, str))
    return ""


def _parts(content: Any) -> list[dict[str, Any]]:
    if content is None or content == "":
        return []
    if isinstance(content, str):
        return [{"type": "text", "content": content}]
    out: list[dict[str, Any]] = []
    for part in content if isinstance(content, list | tuple) else ():
        kind = shapes.word(getattr(part, "type", None))
        if kind == "text":
            out.append({"type": "text", "content": getattr(part, "data", "")})
            continue
        fact: dict[str, Any] = {"mime_type": shapes.word(getattr(part, "mime_type", None)) or None}
        fact["modality"] = _MODALITY.get(kind or "", kind or "unknown")
        url = getattr(part, "url", None)
        if url:
            out.append({"type": "uri", "uri": url, **fact})
        else:
            # The bytes stay out: a prompt's image is megabytes of base64.
            out.append({"type": "blob", "content": "", **fact})
    return out


def _call(call: Any) -> dict[str, Any]:
    function = getattr(call, "function", None)
    arguments = getattr(function, "arguments", None)
    if isinstance(arguments, str) and len(arguments) <= _ARGUMENTS_MAX:
        try:
            arguments = json.loads(arguments)
        except ValueError:
            pass
    return {
        "type": "tool_call",
        "id": shapes.word(getattr(call, "id", None)),
        "name": shapes.word(getattr(function, "name", None)) or "",
        "arguments": arguments,
    }


def prompt(prompt_messages: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Leading system messages as instructions, and everything after them as messages."""
    system: list[dict[str, Any]] = []
    rest: list[dict[str, Any]] = []
    for message in prompt_messages or ():
        role = shapes.word(getattr(message, "role", None)) or "user"
        content = getattr(message, "content", None)
        if role == "system" and not rest:
            system += [{"type": "text", "content": plain(content)}]
            continue
        if role == "tool":
            parts: list[dict[str, Any]] = [
                {
                    "type": "tool_call_response",
                    "id": shapes.word(getattr(message, "tool_call_id", None)),
                    "response": plain(content),
                }
            ]
        else:
            parts = _parts(content)
            parts += [_call(c) for c in getattr(message, "tool_calls", None) or ()]
        entry: dict[str, Any] = {"role": role, "parts": parts}
        name = getattr(message, "name", None)
        if name:
            entry["name"] = shapes.word(name)
        rest.append(entry)
    return system, rest


def answer(text: str, calls: Any, reasoning: str | None, finish: str | None) -> list[dict[str, Any]]:
    """The assistant's message of one model call."""
    parts: list[dict[str, Any]] = []
    if reasoning:
        parts.append({"type": "reasoning", "content": reasoning})
    if text:
        parts.append({"type": "text", "content": text})
    parts += [_call(c) for c in calls or ()]
    return [{"role": "assistant", "parts": parts, "finish_reason": finish or "stop"}]


def tools(definitions: Any) -> list[dict[str, Any]]:
    """`PromptMessageTool`s as function definitions."""
    out = []
    for tool in definitions or ():
        entry: dict[str, Any] = {"type": "function", "name": shapes.word(getattr(tool, "name", None)) or ""}
        entry["description"] = getattr(tool, "description", None) or ""
        parameters = getattr(tool, "parameters", None)
        if isinstance(parameters, Mapping) and parameters:
            entry["parameters"] = parameters
        out.append(entry)
    return out
