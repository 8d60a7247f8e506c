"""The core under every OpenTelemetry, wrapt and Python it claims: suites and a real export, in their own environments.

By default a few combinations in which each version of everything occurs; `DIFY_OTEL_MATRIX=pairs` runs those in which
every pair of versions meets, `all` each one, and the chaos suite with them. A Python that is not on this machine is
skipped, and the reason names it.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from dify_otel.tail.receiver import Receiver

from . import environments
from .environments import ROOT, Cell

pytestmark = pytest.mark.process
WANTED = os.environ.get("DIFY_OTEL_MATRIX", "").strip().lower()
ALL = WANTED == "all"
EVERY = environments.cells()
TOGETHER = 2 if WANTED == "pairs" else 1
CELLS = EVERY if ALL else environments.covering(EVERY, TOGETHER)
SUITES = ("tests/unit", "tests/patching/test_hooks.py", "tests/patching/test_generations.py")
SECONDS = 300
PROGRAM = Path(__file__).with_name("program")


def _suites() -> list[str]:
    """Files that can run without the workflow engine, which needs Python 3.12 and half of Dify."""
    files: list[Path] = []
    for suite in (*SUITES, *(("tests/patching/test_chaos.py",) if ALL else ())):
        path = ROOT / suite
        files += sorted(path.glob("test_*.py")) if path.is_dir() else [path]
    return [str(f.relative_to(ROOT)) for f in files if "from graphon" not in f.read_text("utf-8")]


def _environ(**more: str) -> dict[str, str]:
    paths = [str(ROOT / "bootstrap"), str(ROOT / "instrumentors"), str(ROOT)]
    kept = {n: os.environ[n] for n in ("PATH", "HOME", "LANG", "TMPDIR") if n in os.environ}
    return kept | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"} | more


def _pytest(python: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        # What a call costs is judged where nothing else runs beside it.
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not costs", *arguments, *_suites()],
        cwd=ROOT,
        env=_environ(),
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )


@pytest.fixture(scope="module")
def collected() -> int:
    """How many tests there are, counted where the suite itself runs."""
    done = _pytest(sys.executable, "--collect-only")
    assert done.returncode == 0, done.stdout[-2000:]
    return sum("::" in line for line in done.stdout.splitlines())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Cell, Future[Any]]]:
    """Every cell's suites, as many at a time as there are processors; begun at once, awaited by the tests."""
    folder = tmp_path_factory.mktemp("matrix")

    def run(cell: Cell) -> Any:
        python = environments.environment(cell)
        report = folder / f"{cell}.xml"
        return _pytest(str(python), f"--junitxml={report}"), report

    pool = ThreadPoolExecutor(os.cpu_count() or 1)
    try:
        yield {cell: pool.submit(run, cell) for cell in CELLS if environments.interpreter(cell.python)}
    finally:
        pool.shutdown(cancel_futures=True)


def _there(cell: Cell) -> None:
    if environments.interpreter(cell.python) is None:
        pytest.skip(f"no Python {cell.python} with venv on this machine")


@pytest.mark.parametrize("together", [1, 2])
def test_the_few_cover_them_all(together: int) -> None:
    few = environments.covering(EVERY, together)
    for names in itertools.combinations(("python", "telemetry", "wrapt"), together):
        wanted = {tuple(getattr(c, n) for n in names) for c in EVERY}
        assert {tuple(getattr(c, n) for n in names) for c in few} == wanted
    assert len(few) < len(EVERY) / 2
    assert any(environments.interpreter(c.python) for c in CELLS)


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_suites(cell: Cell, runs: dict[Cell, Future[Any]], collected: int) -> None:
    _there(cell)
    done, report = runs[cell].result()
    assert done.returncode == 0, f"{done.stdout[-5000:]}\n{done.stderr[-2000:]}"
    totals = ElementTree.parse(report).getroot().find("testsuite")
    assert totals is not None
    counts = {name: int(totals.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")}
    assert counts["tests"] == collected > 300
    assert counts["failures"] == counts["errors"] == 0
    assert counts["skipped"] <= collected // 20, done.stdout[-3000:]


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_request_is_exported(cell: Cell, protocol: str, tmp_path: Path) -> None:
    _there(cell)
    python = environments.environment(cell)
    bodies: dict[str, bytes] = {"metrics": b"", "logs": b"", "traces": b""}

    def keep(signal: str, body: bytes) -> None:
        bodies[signal] += body

    with Receiver(on_request=keep) as receiver:
        endpoint = receiver.grpc_endpoint if protocol == "grpc" else receiver.http_endpoint
        done = subprocess.run(
            [str(python), "-m", "app"],
            cwd=PROGRAM,
            env=_environ(
                PYTHONPATH=str(ROOT / "bootstrap" / "dify_otel" / "inject"),
                STANDIN=str(ROOT / "tests" / "standin" / "generations" / "a"),
                TMPDIR=str(tmp_path),
                OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
                OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
                OTEL_LOGS_EXPORTER="otlp",
                OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT="SPAN_AND_EVENT",
                OTEL_BSP_SCHEDULE_DELAY="200",
                DIFY_OTEL_INFRA_SPANS="all",
                DIFY_OTEL_LOG_LEVEL="debug",
            ),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        spans = receiver.spans
    assert done.returncode == 0, done.stderr[-3000:]
    facts = [json.loads(line[6:]) for line in done.stdout.splitlines() if line.startswith("FACTS ")]
    assert facts == [{"answer": "You said ", "sent": [1, 1], "imported": []}]
    assert "Traceback" not in done.stderr and "telemetry failed" not in done.stderr, done.stderr[-3000:]
    assert done.stderr.count("seams hooked") == 1, done.stderr

    mine = [s for s in spans if s.trace_id == "a" * 32]
    by_name = {s.name.split()[0]: s for s in mine}
    assert {"POST", "chat", "GET"} <= set(by_name), [s.name for s in spans]
    assert any("db.system" in s.attributes or "db.system.name" in s.attributes for s in mine), [s.name for s in mine]
    server, chat = by_name["POST"], by_name["chat"]
    assert server.parent_id == "b" * 16
    assert chat.parent_id == server.span_id
    assert chat.attributes["gen_ai.usage.output_tokens"] == 2
    assert chat.end_ns <= server.end_ns, "the server span lasts as long as the stream"
    # A forked copy exports what it did itself, and nothing of its parent's a second time.
    assert [s.name for s in spans if s.trace_id != "a" * 32] == ["chat first-chat", "chat forked-chat"]
    assert len({s.span_id for s in spans}) == len(spans)

    assert b"gen_ai.client.operation.duration" in bodies["metrics"]
    assert b"a line of the request" in bodies["logs"]
    assert b"gen_ai.client.inference.operation.details" in bodies["logs"]
    assert bytes.fromhex("a" * 32) in bodies["logs"]
