"""The monitoring data list as a table: each field with the value that was seen, or why it is not applicable.

`python -m tests.process.fields_table SPANS [--calls CALLS] > docs/fields.md`. SPANS has a JSON line a span (name,
start, end, attributes; and `case`, or `trace_id` with CALLS, which has a line a call with `case` and `trace_id`).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

COLUMNS = ("wf-main:stream", "chatflow:stream", "chat-dataset:stream", "agent-chat:stream")
TITLES = ("workflow", "chatflow", "chat with a dataset", "agent-chat")
VALUE_MAX = 44

Spans = Mapping[str, list[Mapping[str, Any]]]

_FAILED = frozenset({"W13", "M8", "T8", "TM7"})
_FILES = frozenset({"T14", "TM9", "TM10", "TM11"})
_OF_THE_MESSAGE = frozenset(
    {"W16", "R1", "R6", "RM1", "RM4", "RM5", "RM6", "RM7", "RM9", "T1", "TM1", "T7", "T9", "T10"}
)
_CONVERSATION = frozenset({"W2", "WM2"})


def why_not(field: Mapping[str, Any], case: str) -> str | None:
    """Why a field cannot be in that call, in words; None when it must be."""
    kind, number = field["list"].split()[0], field["id"]
    workflow = case.startswith("wf-")
    runs_a_graph = workflow or case.startswith("chatflow")
    if number in _FAILED:
        return "nothing failed"
    if number in ("MM6", "RM6"):
        return "an end user called"
    if kind == "workflow":
        if not runs_a_graph:
            return "no workflow"
        if workflow and number in _CONVERSATION:
            return "a workflow has no conversation"
        if not workflow and number == "W15":
            return "Dify writes no app log for chatflows"
    if workflow and (kind == "message" or number in _OF_THE_MESSAGE):
        return "a workflow has no message"
    if kind == "dataset" and case not in ("wf-main:stream", "chat-dataset:stream"):
        return "no dataset"
    if kind == "tool" and case not in ("wf-main:stream", "agent-chat:stream"):
        return "no tool"
    if number in _FILES:
        return "no file"
    if number in ("MM8", "RM8") and not runs_a_graph:
        return "no workflow"
    return None


def _claims(field: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [field, *({**field, **more} for more in field.get("more", ()))]


def seen(claim: Mapping[str, Any], spans: list[Mapping[str, Any]]) -> Any:
    """The value of a claim's first attribute, on a span that has all of them; None when there is none."""
    for span in spans:
        if not span["name"].startswith(claim["span"]):
            continue
        told = {**span["attributes"], "@start": span["start"], "@end": span["end"]}
        if all(told.get(attribute) not in (None, "") for attribute in claim["attributes"]):
            return told[claim["attributes"][0]]
    return None


def shown(value: Any) -> str:
    """A value as a cell: short, on one line, ids by their first block."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = re.sub(r"\b([0-9a-f]{8})-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", r"\1…", text)
    text = " ".join(text.split()).replace("|", "/").replace("`", "'")
    return f"`{text[:VALUE_MAX]}{'…' if len(text) > VALUE_MAX else ''}`"


def rows(fields: list[Mapping[str, Any]], spans: Spans) -> list[list[str]]:
    """A row a field: id, name, span and attribute, a cell a column, and where else it was seen."""
    out = []
    for field in fields:
        cells = []
        for case in COLUMNS:
            value = seen(field, spans.get(case, []))
            reason = why_not(field, case)
            cells.append(
                shown(value) if value is not None else f"not applicable: {reason}" if reason else "**missing**"
            )
        elsewhere = ""
        for claim in _claims(field) if not any(cell.startswith("`") for cell in cells) else ():
            for case in claim["cases"]:
                value = seen(claim, spans.get(case, [])) if case not in COLUMNS else None
                if value is not None and not elsewhere:
                    elsewhere = f"{case.partition(':')[0]}: {shown(value)}"
        names = ", ".join(f"`{a}`" for a in field["attributes"])
        out.append([field["id"], field["name"], f"`{field['span'].strip()}`", names, *cells, elsewhere])
    return out


def read(path: Path, calls: Path | None) -> Spans:
    """The spans of a file by the call they belong to."""
    cases: dict[str, str] = {}
    for line in calls.read_text().splitlines() if calls else ():
        call = json.loads(line)
        if call.get("trace_id"):
            cases[call["trace_id"]] = call["case"]
    found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for line in path.read_text().splitlines():
        span = json.loads(line)
        case = span.get("case") or cases.get(span.get("trace_id", ""))
        if case is not None:
            found[case].append(span)
    return found


def markdown(fields: list[Mapping[str, Any]], spans: Spans, release: str) -> str:
    """The whole page."""
    table = rows(fields, spans)
    cells = [cell for row in table for cell in row[4:8]]
    missing = sum(cell == "**missing**" for cell in cells)
    valued = sum(cell.startswith("`") for cell in cells)
    head = ["#", "field", "span", "attributes", *TITLES, "seen elsewhere"]
    lines = [
        "# The monitoring data list, field by field",
        "",
        "Dify's 93 fields (workflow, message, dataset retrieval, tool, and their metadata) as they were seen on the",
        f"spans of a real Dify {release}, called over its service API, streamed, with content capture on. Values and",
        "ids are shortened; of several attributes the first one's value is shown, all of them were there. Made by",
        "`python -m tests.process.fields_table`; `tests/process/test_fields.py` asserts the same list without Dify,",
        "and for files, console users, knowledge pipelines, agent apps and triggers as well.",
        "",
        f"{len(table)} fields × {len(COLUMNS)} kinds of app: {valued} seen, "
        f"{len(cells) - valued - missing} not applicable, "
        f"{missing} missing.",
        "",
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(f"| {' | '.join(row)} |" for row in table),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("spans", type=Path)
    parser.add_argument("--calls", type=Path)
    parser.add_argument("--release", default="1.16.1", help="of the Dify that the spans are from")
    options = parser.parse_args()
    fields = tomllib.loads((Path(__file__).parents[1] / "fields.toml").read_text())["field"]
    page = markdown(fields, read(options.spans, options.calls), options.release)
    sys.stdout.write(page)
    return 1 if "**missing**" in page else 0


if __name__ == "__main__":
    raise SystemExit(main())
