"""Three generations of Dify before the PyPI engine, hand-made: same answers, and the spans they must give."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("instrumented_generation.py")
GENERATIONS = ("a", "b", "c")


@cache
def _run(generation: str, how: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), generation, how], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _comparable(answers: Any) -> str:
    """Without what differs between any two runs: ids and times."""
    text = json.dumps(answers, sort_keys=True)
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d+\.\d+", "#", text)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_answers_are_the_same(generation: str) -> None:
    bare, ours = _run(generation, "bare"), _run(generation, "ours")
    assert _comparable(ours["answers"]) == _comparable(bare["answers"])


@pytest.mark.parametrize("generation", GENERATIONS)
def test_every_kind_of_span_is_there_and_has_its_place(generation: str) -> None:
    spans = _run(generation, "ours")["spans"]
    by_id = {s["id"]: s for s in spans}
    names = {s["name"] for s in spans}
    for prefix in (
        *("dify.app", "invoke_workflow", "start ", "code ", "llm ", "tool ", "chat ", "execute_tool", "invoke_agent"),
        *("react step 1", "retrieval", "embeddings", "rerank", "moderation", "conversation_name", "dataset_indexing"),
    ):
        assert any(n.startswith(prefix) for n in names), (prefix, sorted(names))

    def above(span: dict[str, Any]) -> list[str]:
        found = []
        while span["parent"] is not None:
            span = by_id[span["parent"]]
            found.append(span["name"])
        return found

    nodes = [s for s in spans if s["attributes"].get("dify.node.execution_id")]
    assert nodes
    for node in nodes:
        assert any(n.startswith("invoke_workflow") for n in above(node)), (node["name"], above(node))
    inner = [s for s in nodes if any(n.startswith(("iteration ", "loop ")) for n in above(s))]
    assert inner, [s["name"] for s in nodes]
    failed = defaultdict(list)
    for s in spans:
        if s["status"] == "ERROR":
            failed[s["trace"]].append(s["name"].split()[0])
            assert s["attributes"]["error.type"]
    assert any({"dify.app", "invoke_workflow", "llm", "chat"} <= set(names) for names in failed.values()), dict(failed)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_request_is_one_trace(generation: str) -> None:
    spans = _run(generation, "ours")["spans"]
    ids = {s["id"] for s in spans}
    assert all(s["parent"] is None or s["parent"] in ids for s in spans)
    roots = [s["name"].split()[0] for s in spans if s["parent"] is None]
    assert not {"chat", "llm", "code", "start", "invoke_workflow", "react"} & set(roots), sorted(set(roots))
