"""The monitoring data list: every field of tests/fields.toml on the exported span it is promised on, in the right type.

Runs the stand-in; with SPANS=FILE (JSON lines: name, start, end, attributes, case) it judges spans from elsewhere, such
as a real Dify, in the same way.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from dify_otel_instrumentors.core.content import CUT

from tests.process import fields_table, kinds
from tests.semconv.schemas import SCHEMAS, faults

FIELDS: list[dict[str, Any]] = tomllib.loads((Path(__file__).parents[1] / "fields.toml").read_text())["field"]


def _claims(field: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Where a field must be found: what it says itself, and its `more`."""
    return [field, *({**field, **more} for more in field.get("more", ()))]


CASES = sorted({case for field in FIELDS for claim in _claims(field) for case in claim["cases"]})

TYPES: Mapping[str, Any] = {
    "string": str,
    "int": int,
    "double": float,
    "bool": bool,
    "json": str,
    "string[]": list,
}


@pytest.fixture(scope="module")
def seen(request: pytest.FixtureRequest) -> Mapping[str, list[dict[str, Any]]]:
    """The spans of each case as plain data."""
    path = os.environ.get("SPANS")
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    if path:
        for line in Path(path).read_text().splitlines():
            span = json.loads(line)
            found[span["case"]].append(span)
        return found
    doors, start = request.getfixturevalue("doors"), request.getfixturevalue("start")
    environment = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY"}
    with start(doors["inject"], environment=environment, api={"name": "api-f"}, worker={"name": "worker-f"}) as running:
        for case in CASES:
            for s in kinds.spans_of(running, case):
                found[case].append({"name": s.name, "start": s.start_ns, "end": s.end_ns, "attributes": s.attributes})
    return found


def test_the_list_is_whole() -> None:
    counts: dict[str, int] = defaultdict(int)
    for field in FIELDS:
        counts[field["list"]] += 1
    assert counts == {
        "workflow": 18,
        "workflow metadata": 10,
        "message": 15,
        "message metadata": 10,
        "dataset retrieval": 6,
        "dataset retrieval metadata": 9,
        "tool": 14,
        "tool metadata": 11,
    }
    assert len({field["id"] for field in FIELDS}) == 93


def _has(span: Mapping[str, Any], attribute: str, kind: str) -> bool:
    if attribute == "@start":
        return bool(span["start"] > 0)
    if attribute == "@end":
        return bool(span["end"] >= span["start"])
    value = span["attributes"].get(attribute)
    wanted = TYPES[kind]
    return type(value) is wanted and value != ""


@pytest.mark.parametrize("field", FIELDS, ids=[f"{f['id']}-{f['name']}" for f in FIELDS])
def test_field(field: dict[str, Any], seen: Mapping[str, list[dict[str, Any]]]) -> None:
    assert field["cases"], "nothing shows it"
    judged = 0
    for claim in _claims(field):
        for case in claim["cases"]:
            if os.environ.get("SPANS") and case not in seen:
                continue
            judged += 1
            spans = [s for s in seen[case] if s["name"].startswith(claim["span"])]
            assert spans, f"{case}: no span {claim['span']}"
            for attribute in claim["attributes"]:
                assert any(_has(s, attribute, claim["type"]) for s in spans), (
                    f"{case}: {attribute} ({claim['type']}) on none of {[s['name'] for s in spans]}: "
                    f"{[s['attributes'].get(attribute) for s in spans]}"
                )
    if not judged:
        pytest.skip(f"SPANS has none of {field['cases']}")


def test_structured_content_is_what_the_genai_json_schemas_say(seen: Mapping[str, list[dict[str, Any]]]) -> None:
    judged: dict[str, int] = defaultdict(int)
    wrong = []
    for case, spans in seen.items():
        for span in spans:
            for attribute in SCHEMAS:
                value = span["attributes"].get(attribute)
                if value is None or CUT in value:
                    continue
                judged[attribute] += 1
                wrong += [f"{case}: {span['name']}: {fault}" for fault in faults(attribute, value)]
    assert wrong == []
    assert set(judged) == set(SCHEMAS), f"never seen: {set(SCHEMAS) - set(judged)}"


def test_the_reported_table_has_a_row_a_field_and_says_what_is_missing() -> None:
    span = {"name": "invoke_workflow w", "start": 1, "end": 2, "attributes": {"dify.workflow.id": "a | b"}}
    table = fields_table.rows(FIELDS, {"wf-main:stream": [span]})
    assert len(table) == 93
    first = table[0]
    assert first[:2] == ["W1", "workflow_id"]
    assert first[4:8] == ["`a / b`", "**missing**", "not applicable: no workflow", "not applicable: no workflow"]
    page = fields_table.markdown(FIELDS, {"wf-main:stream": [span]}, "1.16.1")
    assert page.count("\n| ") == 94
