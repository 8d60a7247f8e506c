"""A backend that is frozen or absent slows no request, fills no log, and costs a bounded wait at the end."""

from __future__ import annotations

import socket
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.process.conftest import clean
from tests.standin import processes

CASES = ("wf-main:stream", "chat-dataset:stream", "wf-main:block", "agent-chat:stream")
SLOW_SECONDS = 2.0
"""An event loop that waits for an exporter stands still for its timeout, 10 s; a busy machine for less than this."""
LINES_MAX = 8
"""Log lines about exporting that a process may write in the few seconds this takes: one a minute and logger."""


@pytest.fixture(params=["frozen-grpc", "frozen-http/protobuf", "absent-grpc"])
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
