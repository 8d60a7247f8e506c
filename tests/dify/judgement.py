"""What is wrong with a call or a heap of spans, in words; nothing, when nothing is.

Pure functions over what a caller saw and what a receiver got, so that the verdict is the same for every release.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from dify_otel.tail.span import Span

from tests.dify.calls import Case
from tests.standin.drive import Outcome

_ABOVE = {
    "invoke_workflow": ("dify.app",),
    "chat ": (
        *("llm ", "agent ", "react step", "dify.app", "invoke_agent", "POST /inner/"),
        *("suggested_questions", "conversation_name", "prompt_generation"),
        *("parameter-extractor ", "question-classifier "),
        *("dataset_indexing", "run/tasks.generate_summary"),
    ),
    "retrieval": ("knowledge-retrieval ", "dify.app", "POST /v1/datasets/", "POST /console/api/datasets/"),
    "embeddings": (
        *("retrieval", "dataset_indexing", "vector_search"),
        *("run/tasks.generate_summary", "POST /v1/datasets/"),
    ),
    "moderation ": ("dify.app",),
    "rerank": ("retrieval",),
    "iteration item": ("iteration ",),
    "execute_tool": ("tool ", "react step", "agent ", "invoke_agent", "POST /inner/"),
    "react step": ("invoke_agent",),
}
"""What must be somewhere above a span of that name, one of these."""


_COUNTED = ("segment_hit_count",)
"""What a document's record counts up with every retrieval."""


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lasting(item) for key, item in value.items() if key not in _COUNTED}
    return [_lasting(item) for item in value] if isinstance(value, list) else value


def difference(case: Case, without: Outcome, with_us: Outcome) -> list[str]:
    """What a caller sees differently, and what he should not see at all."""
    found = []
    if without.status != case.status:
        found.append(f"without us the status is {without.status!r}, not {case.status!r}: {without.error}")
    for name in ("http", "status", "error", "answer", "outputs"):
        before, after = _lasting(getattr(without, name)), _lasting(getattr(with_us, name))
        if before != after:
            found.append(f"{name} is {after!r}, without us {before!r}")
    before, after = (Counter(o.events) for o in (without, with_us))
    for events in (before, after):
        for name in ("ping", *case.uncounted):
            events.pop(name, None)
    if before != after:
        found.append(f"events are {dict(after)}, without us {dict(before)}")
    return found


def above(span: Span, by_id: Mapping[str, Span]) -> list[Span]:
    line: list[Span] = []
    current = by_id.get(span.parent_id)
    while current is not None and current not in line:
        line.append(current)
        current = by_id.get(current.parent_id)
    return line


def trace(case: Case, outcome: Outcome, spans: Sequence[Span], absent: Collection[str] = ()) -> list[str]:
    """What is wrong with the spans of one call. `absent`: kinds of spans this release cannot have."""
    if len(spans) < 2:
        return [f"{len(spans)} spans: {[s.name for s in spans]}"]
    found = []
    by_id = {span.span_id: span for span in spans}
    if len(by_id) != len(spans):
        found.append(f"{len(spans) - len(by_id)} spans arrived twice")
    tops = [span.name for span in spans if span.parent_id not in by_id]
    if len(tops) != 1 or not tops[0].startswith(case.top):
        found.append(f"the tops are {tops}")
    for wanted in case.spans:
        if wanted not in absent and not any(span.name.startswith(wanted) for span in spans):
            found.append(f"no {wanted!r} in {sorted({s.name for s in spans})}")
    found += [f"{s.name!r} has {name!r}, of no namespace" for s in spans for name in s.attributes if "." not in name]
    found += _places(spans, by_id)
    found += _errors(case, spans)
    found += _rows(case, outcome, spans)
    return found


def _places(spans: Iterable[Span], by_id: Mapping[str, Span]) -> list[str]:
    found = []
    for span in spans:
        line = above(span, by_id)
        for name, wanted in _ABOVE.items():
            if span.name.startswith(name) and not any(s.name.startswith(wanted) for s in line):
                found.append(f"{span.name!r} hangs under {[s.name for s in line]}")
        if "dify.node.execution_id" in span.attributes and not any(s.name.startswith("invoke_workflow") for s in line):
            found.append(f"node {span.name!r} is in no workflow: {[s.name for s in line]}")
    return found


def _errors(case: Case, spans: Iterable[Span]) -> list[str]:
    failed = [span for span in spans if span.failed and span.kind != "SERVER"]
    found = [f"{wanted!r} is not ERROR" for wanted in case.errors if not any(s.name.startswith(wanted) for s in failed)]
    for span in failed:
        if not span.name.startswith(case.errors or ("\0",)):
            found.append(f"{span.name!r} is ERROR: {span.status_message} {span.attributes.get('error.type')!r}")
        elif not span.attributes.get("error.type"):
            found.append(f"{span.name!r} has no error.type")
    return found


_NODE_ENDS = ("node_finished", "iteration_completed", "human_input_required")


def _rows(case: Case, outcome: Outcome, spans: Iterable[Span]) -> list[str]:
    """As many node spans as Dify told its caller of nodes."""
    if case.how != "stream" or not outcome.events.get("node_finished"):
        return []
    told = sum(outcome.events.get(name, 0) for name in _NODE_ENDS)
    nodes = [s.name for s in spans if "dify.node.execution_id" in s.attributes]
    return [] if len(nodes) == told else [f"{len(nodes)} node spans for {told} nodes: {nodes}"]


def strangers(by_trace: Mapping[str, Sequence[Span]], ours: Iterable[str]) -> list[str]:
    """Traces that no call asked for."""
    known = set(ours)
    return [f"{len(s)} spans: {s[0].name} ({s[0].scope})" for trace_id, s in by_trace.items() if trace_id not in known]
