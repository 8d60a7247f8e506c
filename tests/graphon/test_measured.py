"""What is measured of the real engine, oldest to newest, with every span sampled away: waits, workers, ready nodes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.graphon.test_engine import ROOT, SECONDS, VERSIONS, _environment

INNER = {"iteration": {"iteration-start": 3}, "iteration-parallel": {"iteration-start": 3}, "loop": {"loop-start": 2}}
"""Where the engine starts inner graphs: nodes that wait for a worker, though the engine tells of no run of theirs."""
SCENARIOS = ("plain", "failing", "iteration", "iteration-parallel", "loop")


@pytest.fixture(scope="module", params=VERSIONS)
def said(request: pytest.FixtureRequest) -> Any:
    if sys.version_info < (3, 12):
        pytest.skip("graphon needs Python 3.12")
    ran = subprocess.run(
        [str(_environment(request.param)), str(Path(__file__).with_name("measured.py"))],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "instrumentors"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    return json.loads(ran.stdout)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_each_node_waited_once_before_it_started(said: Any, scenario: str) -> None:
    measured = said["measured"][scenario]
    counts = {kind: wait["count"] for kind, wait in measured["waits"].items()}
    assert counts == {**measured["started"], **INNER.get(scenario, {})}
    for wait in measured["waits"].values():
        assert 0 < wait["seconds"] < 10
    assert measured["left_waiting"] == 0


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_workers_are_counted_while_the_engine_runs_and_not_after(said: Any, scenario: str) -> None:
    measured = said["measured"][scenario]
    assert measured["most_workers"] >= 1
    assert measured["after"] == [0, 0]
    assert measured["exported"] == [0]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_no_engine_is_kept_alive(said: Any, scenario: str) -> None:
    assert said["measured"][scenario]["engines_kept"] == 0


def test_without_a_meter_nothing_is_timed(said: Any) -> None:
    assert said["off"]["waits"] == {}
    assert said["off"]["left_waiting"] == 0
    assert said["off"]["started"] == said["measured"]["iteration"]["started"]
