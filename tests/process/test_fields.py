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

FIELDS: list[dict[str, Any]] = tomllib.loads((Path(__file__).parents[1] / "fields.toml").read_text())["field"]
CASES = sorted({case for field in FIELDS for case in field["cases"]})

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
            trace = running.trace(running.call(case), "dify.app")
            for s in trace.spans:
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
    if not field["cases"]:
        pytest.skip(f"no call of the stand-in shows it: {field['note']}")
    for case in field["cases"]:
        spans = [s for s in seen[case] if s["name"].startswith(field["span"])]
        assert spans, f"{case}: no span {field['span']}"
        for attribute in field["attributes"]:
            assert any(_has(s, attribute, field["type"]) for s in spans), (
                f"{case}: {attribute} ({field['type']}) on none of {[s['name'] for s in spans]}: "
                f"{[s['attributes'].get(attribute) for s in spans]}"
            )
