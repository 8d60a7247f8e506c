"""A trace as one HTML file that needs nothing else.

People mail it, attach it to an issue, open it in a year: no network, no server, no library. What the spans say is data
(JSON in a script element that is never run) and reaches the page as text only; a content security policy with the
hashes of our own style and script makes the browser hold us to that.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from functools import cache
from importlib.resources import files
from typing import Any

from dify_otel.tail import content, facts, figures
from dify_otel.tail.masking import masked, masked_text
from dify_otel.tail.span import Value
from dify_otel.tail.tree import Node, Trace

MAX_VALUE = 16_384
"""Characters shown of one attribute."""

_PLACE = re.compile(r"\{\{(\w+)\}\}")


def page(trace: Trace) -> str:
    """The whole document, UTF-8 when written to a file."""
    said = facts.summary(trace)
    places = {
        "title": html.escape(f"{said.app or said.title} · {figures.seconds(trace.duration)}"),
        "style": _part("page.css"),
        "style_hash": _hash(_part("page.css")),
        "script": _part("page.js"),
        "script_hash": _hash(_part("page.js")),
        # Inside a script element only "</" and "<!--" could end the data; "<" as an escape rules out both.
        "data": json.dumps(_document(trace, said), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        .replace("<", "\\u003c")
        .replace("\u2028", "\\u2028")
        .replace("\u2029", "\\u2029"),
    }
    return _PLACE.sub(lambda place: places[place.group(1)], _part("page.html"))


@cache
def _part(name: str) -> str:
    return files(__package__ or "dify_otel.tail").joinpath(name).read_text("utf-8")


def _hash(source: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()


def _document(trace: Trace, said: facts.Summary) -> dict[str, Any]:
    resources: list[dict[str, Value]] = []
    spans = [_span(trace, position, node, resources) for position, node in enumerate(trace.nodes)]
    return {
        "id": trace.trace_id,
        "title": said.app or said.title,
        "request": trace.root.span.name if said.app else "",
        "mode": said.mode,
        "start": figures.iso(trace.start_ns),
        "total": (trace.end_ns - trace.start_ns) / 1e6,
        "duration": figures.seconds(trace.duration),
        "failed": trace.root.span.failed,
        "complete": trace.complete,
        "first_chunk": None if said.first_chunk is None else figures.seconds(said.first_chunk),
        "tokens": _tokens(said.tokens),
        "cost": figures.bill(said.cost),
        "models": list(said.models),
        "services": list(said.services),
        "failures": [
            {
                "at": failure.position,
                "name": failure.name,
                "type": failure.type,
                "message": masked_text(failure.message),
            }
            for failure in said.failures
        ],
        "has_content": said.has_content,
        "resources": [_pairs(resource) for resource in resources],
        "spans": spans,
    }


def _span(trace: Trace, position: int, node: Node, resources: list[dict[str, Value]]) -> dict[str, Any]:
    span = node.span
    resource = dict(span.resource)
    if resource not in resources:
        resources.append(resource)
    paid, used, waited = facts.cost(span), facts.tokens(span), facts.first_chunk(span)
    talk = content.talk(span)
    own = facts.own_seconds(trace, position)
    shown = {
        "id": span.span_id,
        "parent_id": span.parent_id,
        "name": facts.label(span),
        "parent": node.parent,
        "depth": node.depth,
        "end": node.end,
        "orphan": node.orphan and position > 0,
        "category": facts.category(span),
        "kind": span.kind.lower(),
        "service": span.service,
        "start": (span.start_ns - trace.start_ns) / 1e6,
        "length": span.duration * 1e3,
        "duration": figures.seconds(span.duration),
        "own": figures.seconds(own),
        "own_part": own / span.duration if span.duration else 0,
        "wait": None if waited is None else waited * 1e3,
        "first_chunk": None if waited is None else figures.seconds(waited),
        "tokens": _tokens(used),
        "cost": "" if paid is None else figures.money(*paid),
        "model": facts.model(span),
        "provider": facts.text(span, "gen_ai.provider.name", "gen_ai.system"),
        "finish": ", ".join(facts.strings(span, "gen_ai.response.finish_reasons")),
        "status": facts.text(span, "dify.node.status", "dify.workflow.status"),
        "failed": span.failed,
        "error_type": facts.error_type(span),
        "error": masked_text(facts.error_message(span)) if span.failed else "",
        "input_title": talk.input_title,
        "output_title": talk.output_title,
        "input": [_turn(turn) for turn in talk.input],
        "output": [_turn(turn) for turn in talk.output],
        "attributes": _pairs({key: value for key, value in span.attributes.items() if not _told(key, talk)}),
        "events": [
            {
                "name": event.name,
                "at": (event.time_ns - span.start_ns) / 1e6,
                "attributes": _pairs(dict(event.attributes)),
            }
            for event in span.events
        ],
        "links": [
            {"trace": link.trace_id, "span": link.span_id, "attributes": _pairs(dict(link.attributes))}
            for link in span.links
        ],
        "scope": f"{span.scope} {span.scope_version}".strip(),
        "resource": resources.index(resource),
    }
    return _without_blanks(shown)


def _told(key: str, talk: content.Talk) -> bool:
    """Content that a tab already shows need not stand among the attributes as JSON again."""
    if key in facts.INPUT_KEYS or key == facts.INSTRUCTIONS_KEY:
        return bool(talk.input)
    return key in facts.OUTPUT_KEYS and bool(talk.output)


def _turn(turn: content.Turn) -> dict[str, Any]:
    shown = {"role": turn.role, "label": turn.label, "text": turn.text, "code": turn.code, "score": turn.score}
    return {"text": "", **_without_blanks(shown)}


def _without_blanks(shown: dict[str, Any]) -> dict[str, Any]:
    """Thousands of spans repeat every key they carry; zeros are figures and stay."""
    return {
        key: value for key, value in shown.items() if value is not None and value is not False and value not in ("", [])
    }


def _tokens(used: facts.Tokens | None) -> list[int] | None:
    return None if used is None else [used.input, used.output, used.total]


def _pairs(attributes: dict[str, Value]) -> list[list[str]]:
    return [[key, _cut(facts.words(masked(key, value)))] for key, value in sorted(attributes.items())]


def _cut(words: str) -> str:
    return words if len(words) <= MAX_VALUE else f"{words[:MAX_VALUE]}… {len(words) - MAX_VALUE:,} more characters"
