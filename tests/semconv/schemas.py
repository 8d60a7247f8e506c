"""The GenAI JSON schemas, written by hand after open-telemetry/semantic-conventions-genai, main of October 2026.

Source: `model/gen-ai/gen-ai-*.json` (input-messages, output-messages, system-instructions, tool-definitions,
retrieval-documents); no package on PyPI ships them. Stricter than they are in one way: a part of a known type must be
right for that type, where the official `GenericPart` would let anything through that has a `type`.
"""

from __future__ import annotations

import json
from typing import Any

from jsonschema import Draft202012Validator

TEXT: dict[str, Any] = {"type": "string"}
NULLABLE: dict[str, Any] = {"type": ["string", "null"]}
SIZE: dict[str, Any] = {"type": ["integer", "null"], "minimum": 0}
FINISH = ("stop", "length", "content_filter", "tool_call", "compaction", "error")


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": "object", "properties": {**required, **(optional or {})}, "required": list(required)}


_PARTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "text": ({"content": TEXT}, {}),
    "reasoning": ({"content": TEXT}, {}),
    "tool_call": ({"name": TEXT}, {"id": NULLABLE, "arguments": True}),
    "tool_call_response": ({"response": True}, {"id": NULLABLE}),
    "server_tool_call": ({"name": TEXT, "server_tool_call": _object({"type": TEXT})}, {"id": NULLABLE}),
    "server_tool_call_response": ({"server_tool_call_response": _object({"type": TEXT})}, {"id": NULLABLE}),
    "blob": ({"modality": TEXT, "content": TEXT}, {"mime_type": NULLABLE, "byte_size": SIZE}),
    "file": ({"modality": TEXT, "file_id": TEXT}, {"mime_type": NULLABLE, "byte_size": SIZE}),
    "uri": ({"modality": TEXT, "uri": TEXT}, {"mime_type": NULLABLE, "byte_size": SIZE}),
    "compaction": ({}, {"id": NULLABLE, "content": NULLABLE}),
}

PART: dict[str, Any] = {
    "oneOf": [_object({"type": {"const": kind}, **must}, may) for kind, (must, may) in _PARTS.items()],
}

_MESSAGE = {"role": {"enum": ["system", "user", "assistant", "tool"]}, "parts": {"type": "array", "items": PART}}

INPUT = {"type": "array", "items": _object(_MESSAGE, {"name": NULLABLE})}
OUTPUT = {
    "type": "array",
    "items": _object(_MESSAGE, {"name": NULLABLE, "finish_reason": {"anyOf": [{"enum": list(FINISH)}, NULLABLE]}}),
}
SYSTEM = {"type": "array", "items": _object({"type": {"const": "text"}, "content": TEXT})}
TOOLS = {
    "type": "array",
    "items": _object(
        {"type": {"const": "function"}, "name": TEXT},
        {"description": NULLABLE, "parameters": {"anyOf": [{"type": "object"}, {"type": "null"}]}},
    ),
}
DOCUMENTS = {"type": "array", "items": _object({}, {"id": TEXT, "score": {"type": ["number", "null"]}})}

SCHEMAS: dict[str, dict[str, Any]] = {
    "gen_ai.input.messages": INPUT,
    "gen_ai.output.messages": OUTPUT,
    "gen_ai.system_instructions": SYSTEM,
    "gen_ai.tool.definitions": TOOLS,
    "gen_ai.retrieval.documents": DOCUMENTS,
}
"""Attribute to what its JSON must be."""


def faults(attribute: str, value: Any) -> list[str]:
    """What is wrong with an attribute's value (JSON text or data), in words; empty when nothing is."""
    data = json.loads(value) if isinstance(value, str) else value
    validator = Draft202012Validator(SCHEMAS[attribute])
    return [f"{attribute}{error.json_path[1:]}: {error.message[:200]}" for error in validator.iter_errors(data)]
