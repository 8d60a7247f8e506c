"""What was said in one span, as turns a person can read.

Messages, tool arguments, results and documents travel as JSON in string attributes, in several dialects, and may have
been cut. Whatever does not parse is shown as it is: hiding what we do not understand would be worse.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from dify_otel.tail import facts
from dify_otel.tail.masking import masked_text
from dify_otel.tail.span import Span

MAX_CHARACTERS = 65_536
"""Shown of one piece."""

MAX_TURNS = 400

_ROLES = {"system", "user", "assistant", "tool"}


@dataclass(frozen=True, slots=True)
class Turn:
    role: str
    """system, user, assistant, tool, document or value."""
    label: str
    """What stands above the text: a tool's name, a document's title; may be empty."""
    text: str
    code: bool = False
    """JSON or another text that wants a fixed-width font."""
    score: float | None = None
    """Of a document, 0 to 1 as a rule."""


@dataclass(frozen=True, slots=True)
class Talk:
    """What went in and what came out, with the words for the two tabs."""

    input_title: str
    output_title: str
    input: tuple[Turn, ...]
    output: tuple[Turn, ...]


_TITLES = {
    "model": ("Prompt", "Answer"),
    "tool": ("Arguments", "Result"),
    "retrieval": ("Query", "Documents"),
    "rerank": ("Query", "Documents"),
    "embedding": ("Text", "Result"),
}


def talk(span: Span) -> Talk:
    """Both sides; each is empty when nothing was recorded."""
    titles = _TITLES.get(facts.category(span), ("Input", "Output"))
    instructions = _read(span, facts.INSTRUCTIONS_KEY)
    before = _turns(_parts(instructions), "system") if instructions is not None else []
    return Talk(
        *titles,
        input=tuple((before + _side(span, facts.INPUT_KEYS))[:MAX_TURNS]),
        output=tuple(_side(span, facts.OUTPUT_KEYS)[:MAX_TURNS]),
    )


def _side(span: Span, keys: tuple[str, ...]) -> list[Turn]:
    """The first attribute that says something: the others repeat it in another dialect."""
    for key in keys:
        value = _read(span, key)
        if value in (None, ""):
            continue
        if key.endswith(".documents"):
            return [turn for document in _parts(value) for turn in _document(document)]
        if _is_messages(value):
            return [
                turn for message in value for turn in _turns(_parts(_said(message)), _role(message), _name(message))
            ]
        return [_piece("value", "", value)]
    return []


def _read(span: Span, key: str) -> Any:
    value = span.attributes.get(key)
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _is_messages(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(message, dict) and ("role" in message or "parts" in message) for message in value)
    )


def _said(message: dict[str, Any]) -> Any:
    return message["parts"] if "parts" in message else message.get("content", "")


def _role(message: dict[str, Any]) -> str:
    role = message.get("role")
    return role if isinstance(role, str) and role in _ROLES else "value"


def _name(message: dict[str, Any]) -> str:
    name = message.get("name") or ("" if _role(message) != "value" else message.get("role"))
    return name if isinstance(name, str) else ""


def _parts(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _turns(parts: list[Any], role: str, label: str = "") -> list[Turn]:
    return [_part(part, role, label) for part in parts]


def _part(part: Any, role: str, label: str) -> Turn:
    if not isinstance(part, dict):
        return _piece(role, label, part)
    match part.get("type"):
        case "text" if isinstance(said := part.get("content", part.get("text")), str):
            return _piece(role, label, said)
        case "reasoning" if isinstance(said := part.get("content"), str):
            return _piece(role, "reasoning", said)
        case "tool_call":
            return _piece(role, f"calls {part.get('name', 'a tool')}", part.get("arguments", {}), code=True)
        case "tool_call_response":
            return _piece("tool", label, part.get("response", part.get("result", "")))
        case "uri" | "file" | "blob" as kind:
            kept = {key: value for key, value in part.items() if key not in ("content", "type")}
            return _piece(role, str(part.get("modality") or kind), kept, code=True)
        case _:
            return _piece(role, label, part)


def _document(document: Any) -> list[Turn]:
    if not isinstance(document, dict):
        return [_piece("document", "", document)]
    title = next((document[key] for key in ("title", "document_name", "id") if document.get(key)), "")
    given = document.get("score")
    score = float(given) if isinstance(given, (int, float)) and not isinstance(given, bool) else None
    said = next((document[key] for key in ("content", "text", "page_content") if document.get(key)), None)
    if said is None:
        said = {key: value for key, value in document.items() if key not in ("title", "score")}
    turn = _piece("document", str(title), said)
    return [Turn(turn.role, turn.label, turn.text, turn.code, score)]


def _piece(role: str, label: str, value: Any, code: bool = False) -> Turn:
    if isinstance(value, str):
        text = value
    else:
        text = json.dumps(value, ensure_ascii=False, indent=2, default=str)
        code = code or isinstance(value, (dict, list))
    if len(text) > MAX_CHARACTERS:
        text = f"{text[:MAX_CHARACTERS]}\n… {len(text) - MAX_CHARACTERS:,} more characters"
    return Turn(role, masked_text(label), masked_text(text), code)
