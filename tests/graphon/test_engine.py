"""The real engine, oldest to newest: each graphon in an environment of its own runs the same small workflows.

Stand-ins cannot prove that a child's span lands under its item when the engine changes threads, so nothing is stood in
here. `GRAPHON_VERSIONS` (space-separated) names other versions; environments are kept under `DIFY_OTEL_CACHE`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from dify_otel.releases import RELEASES

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("DIFY_OTEL_CACHE") or Path.home() / ".cache" / "dify-otel")
PINNED = tuple(dict.fromkeys(r.graphon for r in RELEASES if r.graphon))
"""What Dify's releases pin, 1.14.0 to the newest."""
VERSIONS = (os.environ.get("GRAPHON_VERSIONS") or " ".join(("0.1.0", *PINNED, "0.7.0", "0.8.0"))).split()
"""Oldest, each that a release pins, Dify's main and newest: from 0.7 on containers are frames, not child engines."""
TELEMETRY = "opentelemetry-sdk>=1.28,<2"
SECONDS = 180


def _environment(version: str) -> Path:
    """The interpreter of an environment with that graphon; made once.

    What graphon depends on is borrowed from the environment the tests run in, which has it for another graphon:
    installing it anew takes minutes. Where that does not do, the environment is made whole.
    """
    home = CACHE / f"graphon-{version}"
    python = home / "bin" / "python"
    if (home / ".ready").exists() and python.exists():
        return python
    if home.exists():
        shutil.rmtree(home)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True, timeout=SECONDS)
    site = next((home / "lib").glob("python*/site-packages"))
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", str(site)]
    done = subprocess.run(
        [*pip, "--no-deps", f"graphon=={version}"], capture_output=True, text=True, check=False, timeout=SECONDS
    )
    works = [str(python), "-c", "import graphon.nodes.iteration.iteration_node, graphon.nodes.loop.loop_node"]
    if done.returncode == 0 and subprocess.run(works, capture_output=True, check=False).returncode != 0:
        done = subprocess.run(
            [*pip, "--upgrade", f"graphon=={version}", TELEMETRY],
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
    assert done.returncode == 0, f"pip could not make an environment for graphon {version}:\n{done.stderr[-2000:]}"
    (home / ".ready").touch()
    return python


class Runs:
    """What the runner printed for one version."""

    def __init__(self, version: str, printed: dict[str, Any]) -> None:
        self.version = tuple(int(p) for p in version.split("."))
        self.scenarios = printed["scenarios"]
        self.seams = printed["seams"]

    @property
    def frames(self) -> bool:
        """Whether this engine has frames instead of child engines."""
        return self.version >= (0, 7)

    def spans(self, scenario: str) -> list[dict[str, Any]]:
        return list(self.scenarios[scenario]["spans"])

    def tree(self, scenario: str) -> Any:
        """`[name, [children…]]`, siblings by start."""
        spans = self.spans(scenario)

        def below(parent: Any) -> list[Any]:
            own = sorted((s for s in spans if s["parent"] == parent), key=lambda s: s["start"])
            return [[s["name"], below(s["id"])] for s in own]

        return below(None)


@pytest.fixture(scope="module", params=VERSIONS)
def runs(request: pytest.FixtureRequest) -> Runs:
    if sys.version_info < (3, 12):
        pytest.skip("graphon needs Python 3.12")
    python = _environment(request.param)
    ran = subprocess.run(
        [str(python), str(Path(__file__).with_name("runner.py"))],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "instrumentors"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    return Runs(request.param, json.loads(ran.stdout))


SCENARIOS = (
    "plain",
    "failing",
    "iteration",
    "iteration-parallel",
    "iteration-failing",
    "iteration-continued",
    "loop",
    "iteration-stopped",
)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_one_connected_trace(runs: Runs, scenario: str) -> None:
    spans = runs.spans(scenario)
    by_id = {s["id"]: s for s in spans}
    assert len({s["trace"] for s in spans}) == 1
    assert [s["name"] for s in spans if s["parent"] is None] == ["invoke_workflow"]
    assert [s["name"] for s in spans if s["parent"] is not None and s["parent"] not in by_id] == []
    outlived = [s["name"] for s in spans if s["parent"] is not None and s["end"] > by_id[s["parent"]]["end"]]
    assert outlived == [], "a child ended after its parent"
    assert len({s["id"] for s in spans}) == len(spans)


def test_nodes_are_siblings_below_the_run(runs: Runs) -> None:
    assert runs.tree("plain") == [
        [
            "invoke_workflow",
            [["start start", []], ["template-transform tpl", []], ["if-else choice", []], ["end end", []]],
        ]
    ]
    chosen = next(s for s in runs.spans("plain") if s["name"] == "if-else choice")
    assert chosen["attributes"]["dify.node.selected_branch"] == "true"
    assert chosen["attributes"]["dify.workflow.run_id"] == "run-1"


@pytest.mark.parametrize("scenario", ["iteration", "iteration-parallel"])
def test_children_are_below_their_item(runs: Runs, scenario: str) -> None:
    # The engine's own start marks are no spans.
    item = ["iteration item", [["template-transform body", []], ["template-transform next", []]]]
    assert runs.tree(scenario) == [
        ["invoke_workflow", [["start start", []], ["iteration it", [item] * 3], ["end end", []]]]
    ]
    spans = runs.spans(scenario)
    items = {s["id"]: s["attributes"]["dify.iteration.index"] for s in spans if s["name"] == "iteration item"}
    assert sorted(items.values()) == [0, 1, 2]
    for child in spans:
        if child["parent"] in items:
            assert child["attributes"]["dify.node.iteration_index"] == items[child["parent"]]
            assert child["attributes"]["dify.node.iteration_id"] == "it"
    container = next(s for s in spans if s["name"] == "iteration it")
    assert container["attributes"]["dify.node.status"] == "succeeded"
    assert container["attributes"]["dify.iteration.length"] == 3


def test_parallel_items_overlap(runs: Runs) -> None:
    items = [s for s in runs.spans("iteration-parallel") if s["name"] == "iteration item"]
    assert max(s["start"] for s in items) < min(s["end"] for s in items)


def test_rounds_of_a_loop(runs: Runs) -> None:
    one = ["loop round", [["template-transform round", []]]]
    assert runs.tree("loop") == [["invoke_workflow", [["start start", []], ["loop loop", [one] * 2], ["end end", []]]]]
    rounds = [s for s in runs.spans("loop") if s["name"] == "loop round"]
    assert sorted(s["attributes"]["dify.loop.index"] for s in rounds) == [0, 1]


def test_a_failed_node_is_an_error_up_to_the_run(runs: Runs) -> None:
    failed = {s["name"]: s["attributes"].get("error.type") for s in runs.spans("failing") if s["status"] == "ERROR"}
    assert set(failed) == {"template-transform tpl", "invoke_workflow"}
    assert failed["template-transform tpl"] == failed["invoke_workflow"] == "WorkflowNodeError"
    assert "end end" not in {s["name"] for s in runs.spans("failing")}


def test_a_failed_item_fails_its_iteration(runs: Runs) -> None:
    failed = {
        s["name"]: s["attributes"]["error.type"] for s in runs.spans("iteration-failing") if s["status"] == "ERROR"
    }
    assert failed == {
        "template-transform body": "WorkflowNodeError",
        "iteration item": "item_failed",
        "iteration it": "WorkflowNodeError",
        "invoke_workflow": "WorkflowNodeError",
    }


def test_a_tolerated_failure_stays_with_its_item(runs: Runs) -> None:
    spans = runs.spans("iteration-continued")
    failed = sorted(s["name"] for s in spans if s["status"] == "ERROR")
    assert failed == ["iteration item"] * 3 + ["template-transform body"] * 3
    container = next(s for s in spans if s["name"] == "iteration it")
    assert container["attributes"]["dify.node.status"] == "succeeded"


def test_a_stopped_run_leaves_no_container_open(runs: Runs) -> None:
    spans = runs.spans("iteration-stopped")
    container = [s for s in spans if s["name"] == "iteration it"]
    assert len(container) == 1
    run = next(s for s in spans if s["name"] == "invoke_workflow")
    assert run["attributes"]["dify.workflow.status"] == "stopped"
    assert run["status"] != "ERROR"
    if runs.frames:
        assert container[0]["attributes"]["dify.node.status"] == "stopped"


def test_exactly_the_seams_of_this_engine_are_on(runs: Runs) -> None:
    on = {name for name, targets in runs.seams.items() if "on" in targets.values()}
    frames = {"node.resume", "node.frame", "node.frame_done", "node.frame_failed"}
    queue = {"node.ready", "node.started", "node.workers"}
    if runs.version >= (0, 8):
        queue = {f"{name}_renamed" for name in queue}
    assert on == {"node.run"} | queue | (frames if runs.frames else {"node.children"})
    assert list(runs.seams["node.run"].values()).count("on") == 1
    assert [t for targets in runs.seams.values() for t, state in targets.items() if state == "failed"] == []
