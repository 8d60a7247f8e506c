"""Forks under gevent: the child of a subprocess call must not do the parent's work on its way to `exec`.

Each gevent that Dify's releases pin, with the OpenTelemetry of the same release; the oldest also logged an
`AssertionError` at a worker's start.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from . import environments
from .environments import ROOT, Cell

PAIRS = [
    (Cell("3.12", "1.27.0", "1.17.3"), "24.11.1"),  # Dify 1.6.0 to 1.8.1
    (Cell("3.12", "1.28.0", "1.16.0"), "25.9.1"),  # 1.13.1 to 1.13.3
    (Cell("3.12", "1.41.1", "1.16.0"), "26.4.0"),  # 1.14.0 to 1.16.1
    (Cell("3.12", "newest", "newest"), "newest"),
]

PROGRAM = """
import gevent.monkey

gevent.monkey.patch_all()
import os, subprocess, sys, threading
import gevent
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

from dify_otel import sdk, settings

parent = os.getpid()


def told(words):
    os.write(1, words.encode() + b"\\n")


if sys.argv[1] == "ours":
    sdk.start(settings.current(), "worker")
else:
    BatchSpanProcessor(ConsoleSpanExporter(out=open(os.devnull, "w")))
os.register_at_fork(after_in_child=lambda: told("forked"))
# Right after the start, as Celery's banner asks for the processor: what the new threads wait for is still to be told.
subprocess.check_output(["uname", "-p"])
gevent.sleep(0.2)
gevent.spawn(lambda: told("parent" if os.getpid() == parent else "CHILD"))
subprocess.check_output(["uname", "-p"])
gevent.sleep(0.2)
told(f"threads {threading.active_count() > 1}")
"""


def _run(cell: Cell, gevent: str, how: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    if environments.interpreter(cell.python) is None:
        pytest.skip(f"no Python {cell.python} with venv on this machine")
    python = environments.environment(cell, gevent)
    return subprocess.run(
        [str(python), "-c", PROGRAM, how],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(ROOT / "bootstrap"), str(ROOT / "instrumentors")]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "DIFY_OTEL_STATUS_DIR": str(tmp_path),
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
            "OTEL_LOGS_EXPORTER": "otlp",
            "DIFY_OTEL_FLUSH_SECONDS": "0",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.process
@pytest.mark.parametrize(("cell", "gevent"), PAIRS, ids=lambda p: f"gevent{p}" if isinstance(p, str) else str(p))
def test_a_child_runs_none_of_its_parents_greenlets(cell: Cell, gevent: str, tmp_path: Path) -> None:
    done = _run(cell, gevent, "ours", tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "AssertionError" not in done.stderr, done.stderr[-3000:]
    assert sorted(done.stdout.split()) == sorted(["forked", "forked", "parent", "threads", "True"])


@pytest.mark.process
def test_the_sdk_alone_would_run_them(tmp_path: Path) -> None:
    # The reason for all this: when the SDK no longer starts its threads in children, `forks` can go.
    cell, gevent = PAIRS[2]
    assert "CHILD" in _run(cell, gevent, "alone", tmp_path).stdout.split()
