"""Dify's prompt messages in the shape of OpenTelemetry's GenAI JSON schemas (input, output, system, tool definitions).

Files appear as references without their bytes, and with signed URL parameters scrubbed by the encoder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from . import shapes
from .core.operation import Content

_ARGUMENTS_MAX = 65_536

_MODALITY = {"image": "image", "audio": "audio", "video": "video", "document": "document"}


PLAIN_MAX = (1 << 20) + 1024
"""Characters of a text that are looked at: the largest limit of content, and what its encoder reads behind it."""


def plain(content: Any) -> str:
    """A message's content as text, at most `PLAIN_MAX` of it: a string, or the text parts of a list of parts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content[:PLAIN_MAX]
    if isinstance(content, list | tuple):
        parts: list[str] = []
        left = PLAIN_MAX
        for part in content:
            text = getattr(part, "data", None) if shapes.word(getattr(part, "type", None)) == "text" else None
            if isinstance(text, str):
                parts.append(text[:left])
                left -= len(parts[-1])
                if left <= 0:
                    break
        return "".join(parts)
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


CALLS_MAX = 64
"""Tool calls of one answer that are kept."""


class MergedCall:
    """A tool call put together from what a stream gave of it."""

    __slots__ = ("id", "index", "name", "size", "texts")

    def __init__(self, index: Any, call: Any) -> None:
        self.index = index
        self.id: str | None = None
        self.name = ""
        self.texts: list[Any] = []
        self.size = 0
        self.add(call)

    def add(self, call: Any) -> None:
        """One more piece: what it names replaces nothing that is known, its arguments go on where they ended."""
        function = getattr(call, "function", None)
        self.id = self.id or shapes.word(getattr(call, "id", None)) or None
        self.name = self.name or shapes.word(getattr(function, "name", None)) or ""
        arguments = getattr(function, "arguments", None)
        if arguments and self.size < _ARGUMENTS_MAX:
            self.texts.append(arguments)
            self.size += len(arguments) if isinstance(arguments, str) else 1

    @property
    def arguments(self) -> Any:
        """The arguments: text of a stream in one piece, anything else as it came."""
        if all(isinstance(text, str) for text in self.texts):
            return "".join(self.texts)
        return self.texts[-1]


def merge_calls(known: list[MergedCall], calls: Any) -> None:
    """Add a chunk's tool calls: providers stream one call in many pieces, of which only the first must name it.

    A piece belongs to the call with its id, else with its index, else (it has neither) to the newest one.
    """
    for call in calls[:CALLS_MAX]:
        key, index = shapes.word(getattr(call, "id", None)) or None, getattr(call, "index", None)
        named = bool(getattr(getattr(call, "function", None), "name", None))
        found = next((k for k in known if key is not None and k.id == key), None)
        if found is None and index is not None:
            found = next((k for k in known if k.index == index and (key is None or k.id is None)), None)
        if found is None and key is None and index is None and not named and known:
            found = known[-1]
        if found is not None and not (named and found.name and _whole(found)):
            found.add(call)
        elif len(known) < CALLS_MAX:
            known.append(MergedCall(index, call))


def _whole(call: MergedCall) -> bool:
    """Whether its arguments are complete: some plugins give every call whole, and each the same id."""
    text = call.arguments if call.texts else ""
    if not isinstance(text, str) or not text.endswith("}"):
        return False
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _call(call: Any) -> dict[str, Any]:
    if isinstance(call, MergedCall):
        identity, name, arguments = call.id, call.name, call.arguments if call.texts else None
    else:
        function = getattr(call, "function", None)
        identity, name = shapes.word(getattr(call, "id", None)), shapes.word(getattr(function, "name", None)) or ""
        arguments = getattr(function, "arguments", None)
    if isinstance(arguments, str) and len(arguments) <= _ARGUMENTS_MAX:
        try:
            arguments = json.loads(arguments)
        except ValueError:
            pass
    return {
        "type": "tool_call",
        "id": identity,
        "name": name,
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
    """The assistant's message of one model call; without `finish` it does not say why it ended."""
    parts: list[dict[str, Any]] = []
    if reasoning:
        parts.append({"type": "reasoning", "content": reasoning})
    if text:
        parts.append({"type": "text", "content": text})
    parts += [_call(c) for c in calls or ()]
    message: dict[str, Any] = {"role": "assistant", "parts": parts}
    if finish:
        message["finish_reason"] = finish
    return [message]


def said(role: str, text: str) -> list[dict[str, Any]]:
    """One message of plain text: a person's turn, or what came of it."""
    return [{"role": role, "parts": [{"type": "text", "content": text[:PLAIN_MAX]}]}]


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


# --- OpenInference has an attribute for each piece of each message

FLATTENED_MAX = {"llm.input_messages": 40, "llm.output_messages": 16, "llm.tools": 8, "retrieval.documents": 24}
"""Attributes that may be spent on a list: a span holds 128 by default, and its oldest would go first."""


def with_system(system: list[dict[str, Any]], rest: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Instructions in front of the messages, as they were sent."""
    return [{"role": "system", "parts": [part]} for part in system] + rest


def openinference(prefix: str, listed: list[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Messages as OpenInference flattens them; of a long conversation its newest part."""
    left = FLATTENED_MAX[prefix]
    kept: list[list[tuple[str, Any]]] = []
    for message in reversed(listed):
        pairs = list(_flat(message))
        left -= len(pairs)
        if left < 0:
            break
        kept.append(pairs)
    for index, pairs in enumerate(reversed(kept)):
        for key, value in pairs:
            yield f"{prefix}.{index}.message.{key}", value


def _flat(message: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "role", message.get("role")
    texts = []
    calls = 0
    for part in message.get("parts", ()):
        kind = part.get("type")
        if kind == "text":
            texts.append(part.get("content"))
        elif kind == "tool_call":
            yield f"tool_calls.{calls}.tool_call.id", part.get("id")
            yield f"tool_calls.{calls}.tool_call.function.name", part.get("name")
            yield f"tool_calls.{calls}.tool_call.function.arguments", Content(part.get("arguments"))
            calls += 1
        elif kind == "tool_call_response":
            yield "tool_call_id", part.get("id")
            texts.append(part.get("response"))
    said = [text for text in texts if isinstance(text, str)]
    if said:
        yield "content", Content(said[0] if len(said) == 1 else "".join(said))


def openinference_tools(definitions: list[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Tool definitions as OpenInference wants them, each one JSON text."""
    for index, definition in enumerate(definitions[: FLATTENED_MAX["llm.tools"]]):
        yield f"llm.tools.{index}.tool.json_schema", Content(definition)


def openinference_documents(facts: list[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    """A retrieval's documents, best first."""
    for index, fact in enumerate(facts[: FLATTENED_MAX["retrieval.documents"] // 3]):
        prefix = f"retrieval.documents.{index}.document"
        yield f"{prefix}.id", fact.get("id")
        yield f"{prefix}.score", fact.get("score")
        content = fact.get("content")
        yield f"{prefix}.content", Content(content) if content else None
