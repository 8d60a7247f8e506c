"""A backend that is frozen or absent slows no request, fills no log, and costs a bounded wait at the end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.process.conftest import clean
from tests.standin import processes

CASES = ("wf-main:stream", "chat-dataset:stream", "wf-main:block", "agent-chat:stream")
SLOW_SECONDS = 2.0
"""An event loop that waits for an exporter stands still for its timeout, 10 s; a busy machine for less than this."""
LINES_MAX = 8
"""Log lines about exporting that a process may write in the few seconds this takes: one a minute and logger."""


@pytest.fixture(params=["frozen-http/protobuf", "absent-grpc"])
def backend(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    how, _, protocol = request.param.partition("-")
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        if how == "frozen":
            listening.listen(64)  # accepted by the kernel, answered by nobody
        else:
            listening.close()
        yield {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "DIFY_OTEL_FLUSH_SECONDS": "1",
        }


def _health(base: str, until: threading.Event, seen: list[float]) -> None:
    while not until.is_set():
        began = time.perf_counter()
        with urllib.request.urlopen(f"{base}/health", timeout=30):
            seen.append(time.perf_counter() - began)
        time.sleep(0.05)


def test_requests_do_not_wait(backend: dict[str, str], doors: Mapping[str, Any], start: Any) -> None:
    names = {"api": {"name": "api-down"}, "worker": {"name": "worker-down"}}
    with start(doors["inject"], environment=backend, **names) as running:
        running.call("wf-main:stream")
        done, seen = threading.Event(), list[float]()
        probe = threading.Thread(target=_health, args=(running.servers.base, done, seen))
        probe.start()
        try:
            for case in CASES * 2:
                assert running.call(case).status in ("succeeded", "ok")
        finally:
            done.set()
            probe.join()
        assert max(seen) < SLOW_SECONDS, sorted(seen)[-5:]
        for process in (running.api, running.worker):
            assert clean(process) == []
            lines = [line for line in process.text().splitlines() if "export" in line.lower()]
            assert len(lines) <= LINES_MAX, lines
        api: processes.Process = running.api
        began = time.perf_counter()
        api.popen.terminate()
        api.popen.wait(30)
        assert time.perf_counter() - began < 15


ROOT = Path(__file__).resolve().parents[2]
COLLECTOR = """
import sys, time
from tests.faults.backend import Backend
with Backend(sys.argv[1]) as backend:
    print(backend.endpoint, flush=True)
    told = 0
    while True:
        time.sleep(0.1)
        while told < len(backend.spans):
            span = backend.spans[told]
            told += 1
            print(span.trace_id, span.name, flush=True)
"""
"""A collector of its own, which says what it was sent."""
ROUND_SECONDS = 4.5
"""A round of calls, four at a time: under a second alone; a worker that waits for its exporter takes five and more."""


@contextmanager
def _collector(protocol: str) -> Iterator[tuple[subprocess.Popen[str], str, list[str]]]:
    roots = (ROOT, ROOT / "bootstrap", ROOT / "instrumentors")
    with subprocess.Popen(
        [sys.executable, "-c", COLLECTOR, protocol],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, roots))},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        endpoint, seen = process.stdout.readline().strip(), list[str]()
        reading = threading.Thread(target=lambda: seen.extend(iter(process.stdout.readline, "")))  # type: ignore[union-attr]
        reading.start()
        try:
            yield process, endpoint, seen
        finally:
            process.kill()
            reading.join()


def test_a_collector_that_is_frozen_in_mid_service_and_wakes_again(doors: Mapping[str, Any], start: Any) -> None:
    """SIGSTOP with its connections open, as a node that hangs: neither the API nor the worker waits for it."""
    with _collector("grpc") as (collector, endpoint, seen):
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "5",
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
            "DIFY_OTEL_FLUSH_SECONDS": "1",
        }
        names = {"api": {"name": "api-frozen"}, "worker": {"name": "worker-frozen"}}

        def whole(trace_id: str) -> bool:
            mine = [line.partition(" ")[2] for line in list(seen) if line.startswith(trace_id)]
            return all(any(n.startswith(w) for n in mine) for w in ("POST /v1/", "run/", "invoke_workflow"))

        def arrives(trace_id: str, seconds: float) -> None:
            deadline = time.monotonic() + seconds
            while not whole(trace_id):
                assert time.monotonic() < deadline, [line for line in seen if line.startswith(trace_id)]
                time.sleep(0.05)

        with start(doors["inject"], environment=environment, **names) as running, ThreadPoolExecutor(4) as pool:

            def round_of_calls() -> float:
                began = time.perf_counter()
                for outcome in list(pool.map(running.call, CASES)):
                    assert outcome.status in ("succeeded", "ok"), outcome
                return time.perf_counter() - began

            arrives(running.call("wf-main:stream").trace_id, 20)  # the connections of both stand
            round_of_calls()
            collector.send_signal(signal.SIGSTOP)
            done, health = threading.Event(), list[float]()
            probe = threading.Thread(target=_health, args=(running.servers.base, done, health))
            probe.start()
            try:
                # Longer than an exporter's timeout, so its end and the next attempt lie within.
                until, rounds = time.monotonic() + 7, list[float]()
                while time.monotonic() < until:
                    rounds.append(round_of_calls())
            finally:
                done.set()
                probe.join()
                collector.send_signal(signal.SIGCONT)
            assert max(rounds) < ROUND_SECONDS and len(rounds) > 2, rounds
            assert max(health) < SLOW_SECONDS, sorted(health)[-5:]
            arrives(running.call("wf-main:stream").trace_id, 30)
            for process in (running.api, running.worker):
                assert clean(process) == []


ENDING_SECONDS = 15.0
"""From SIGTERM to the end: gunicorn's and Celery's own goodbyes, and `DIFY_OTEL_FLUSH_SECONDS`."""


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_threads_and_children_do_not_wait_either(protocol: str, doors: Mapping[str, Any], start: Any) -> None:
    """Threads of gunicorn and children of Celery end by taking the interpreter apart, where no thread starts any more.

    Without a thread that was there before, each batch of the queue waits its ten seconds for a frozen backend.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        frozen = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{listening.getsockname()[1]}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "DIFY_OTEL_FLUSH_SECONDS": "1",
        }
        api = {"worker_class": "gthread", "name": "api-down-threads"}
        worker = {"pool": "prefork", "concurrency": 2, "name": "worker-down-prefork"}
        with start(doors["inject"], environment=frozen, api=api, worker=worker) as running:
            for case in CASES:
                assert running.call(case).status in ("succeeded", "ok")
            for process in (running.api, running.worker):
                began = time.perf_counter()
                process.popen.terminate()
                process.popen.wait(60)
                assert time.perf_counter() - began < ENDING_SECONDS, process.tail(10)
                assert clean(process) == []
