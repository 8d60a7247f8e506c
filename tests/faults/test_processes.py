"""Faults around the real processes: a backend with moods, killed workers, a locked table; each as without us."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faults import backend as backends
from tests.process.conftest import clean
from tests.standin import drive, processes

pytestmark = pytest.mark.process

CASES = ("wf-main:stream", "agent-chat:stream", "wf-fail:block", "chat-dataset:stream")
STOOD_STILL_SECONDS = 5.0
"""A process that waits for its exporter stands still for that one's timeout, ten seconds; a busy machine for less."""
LINES_MAX = 10


def alike(outcome: drive.Outcome) -> tuple[Any, ...]:
    """What a client sees, without ids and times."""
    return outcome.http, outcome.status, outcome.error, outcome.answer, sorted(outcome.events.items())


@pytest.fixture(scope="module")
def alone(servers: processes.Backing) -> Mapping[str, tuple[Any, ...]]:
    """What these cases answer without us."""
    with processes.api(servers, name="api-alone"), processes.worker(servers, name="worker-alone"):
        return {name: alike(drive.call(servers.base, servers.apps, drive.CASES[name])) for name in CASES}


@contextmanager
def watched(base: str) -> Iterator[list[float]]:
    """Asks for /health all the while; gives the seconds each answer took."""
    over, seen = threading.Event(), list[float]()

    def ask() -> None:
        while not over.is_set():
            began = time.perf_counter()
            with urllib.request.urlopen(f"{base}/health", timeout=60):
                seen.append(time.perf_counter() - began)
            over.wait(0.05)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield seen
    finally:
        over.set()
        asking.join()


def wait(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError):  # nobody is there yet
            if found := condition():
                return found
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def exporting(backend: backends.Backend) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": backend.endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": backend.protocol,
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        "DIFY_OTEL_FLUSH_SECONDS": "2",
    }


def test_a_backend_with_every_mood(
    backend: backends.Backend, doors: Mapping[str, Any], start: Any, alone: Mapping[str, tuple[Any, ...]]
) -> None:
    names = {"api": {"name": "api-moods"}, "worker": {"name": "worker-moods"}}
    with start(doors["inject"], environment=exporting(backend), **names) as running:
        running.call("wf-main:stream")
        with watched(running.servers.base) as seen:
            for mode in (*backends.MODES[1:], "ok"):
                backend.mode = mode
                for case in CASES:
                    assert alike(running.call(case)) == alone[case], (mode, case)
        assert max(seen) < STOOD_STILL_SECONDS, sorted(seen)[-5:]
        outcome = running.call("wf-main:stream")

        def arrived() -> bool:
            names = [span.name for span in backend.spans if span.trace_id == outcome.trace_id]
            return all(any(n.startswith(w) for n in names) for w in ("POST /v1/", "run/", "invoke_workflow"))

        wait(arrived, 45, "a trace of a request after the backend came back")
        for process in (running.api, running.worker):
            assert clean(process) == []
            lines = [line for line in process.text().splitlines() if "export" in line.lower()]
            assert len(lines) <= LINES_MAX, lines


TIMEOUT = ("sh", "-c", 'case "$1" in *gunicorn) set -- "$@" --timeout 3;; esac; exec "$@"', "sh")
"""Put before a command: of gunicorn's options the last one holds."""


def _hang(running: Any, child: int) -> None:
    """The worker hangs until gunicorn's master has had enough of it, and is there again for the SIGABRT it was sent."""
    os.kill(child, signal.SIGSTOP)
    wait(lambda: "WORKER TIMEOUT" in running.api.text(), 20, "gunicorn's timeout")
    os.kill(child, signal.SIGCONT)


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM", "timeout"])
def test_a_gunicorn_worker_that_ends_in_the_middle_of_a_stream(
    how: str, doors: Mapping[str, Any], start: Any, receiver: Any
) -> None:
    """SIGKILL: out of memory. SIGTERM: a deployment, the stream comes to its end. Timeout: gunicorn's master kills."""
    names = {"api": {"name": f"api-{how}"}, "worker": {"name": f"worker-{how}"}}
    door = doors["inject"]
    if how == "timeout":
        door = dataclasses.replace(door, wrap=TIMEOUT)
    with start(door, **names) as running:
        (child,) = children(running.api.pid)
        outcomes: list[Any] = []
        parent, trace_id = drive.traceparent()

        def call() -> None:
            try:
                base, apps = running.servers.base, running.servers.apps
                outcomes.append(drive.call(base, apps, drive.CASES["travel-guide:stream"], parent=parent, timeout=30))
            except Exception as error:  # the connection breaks, as it does without us
                outcomes.append(error)

        calling = threading.Thread(target=call)
        before = running.worker.text().count("received")
        calling.start()
        wait(lambda: running.worker.text().count("received") > before, 20, "the request reaching the worker")
        began = time.monotonic()
        if how == "timeout":
            _hang(running, child)
        else:
            os.kill(child, getattr(signal, how))
        wait(lambda: child not in children(running.api.pid), 20, "the worker's end")
        assert time.monotonic() - began < 15
        calling.join(40)
        assert not calling.is_alive()
        if how == "SIGTERM":
            assert outcomes[0].status == "succeeded", outcomes
            receiver.wait_for(
                lambda spans: [s for s in spans if s.trace_id == trace_id and s.name.startswith("POST /v1/")], 20
            )
        wait(lambda: processes.answers(f"{running.servers.base}/health"), 30, "a new worker")
        outcome = running.call("wf-main:stream")
        assert outcome.status == "succeeded"
        running.trace(outcome, "run/", "invoke_workflow")


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM"])
def test_a_celery_worker_that_ends_in_the_middle_of_a_run(
    how: str, doors: Mapping[str, Any], servers: processes.Backing, receiver: Any
) -> None:
    door = doors["inject"]
    with processes.api(servers, environment=door.environment, name=f"api-task-{how}"):
        parent, trace_id = drive.traceparent()
        outcomes: list[Any] = []

        def call() -> None:
            try:
                case = drive.CASES["travel-guide:stream"]
                outcomes.append(drive.call(servers.base, servers.apps, case, parent=parent, timeout=8))
            except Exception as error:
                outcomes.append(error)

        with processes.worker(servers, environment=door.environment, name=f"worker-task-{how}") as worker:
            before = worker.text().count("received")
            calling = threading.Thread(target=call)
            calling.start()
            wait(lambda: worker.text().count("received") > before, 20, "the task")
            os.kill(worker.pid, getattr(signal, how))
            worker.popen.wait(25)
            calling.join(60)
        assert not calling.is_alive()
        if how == "SIGTERM":  # warm: the run is finished first, and so is its trace
            assert outcomes[0].status == "succeeded", outcomes
            for name in ("run/", "invoke_workflow"):
                receiver.wait_for(
                    lambda spans, name=name: [s for s in spans if s.trace_id == trace_id and s.name.startswith(name)],
                    20,
                )
        with processes.worker(servers, environment=door.environment, name=f"worker-again-{how}"):
            assert drive.call(servers.base, servers.apps, drive.CASES["wf-main:stream"]).status == "succeeded"


LOCKED_SECONDS = 3.0
CALLS = 12


def _while_locked(servers: processes.Backing) -> tuple[list[float], list[str]]:
    """Requests that all wait for a locked table: how long /health took meanwhile, and how they ended."""
    import psycopg2

    port = servers.environment["DB_PORT"]
    outcomes: list[str] = []

    def call() -> None:
        outcomes.append(drive.call(servers.base, servers.apps, drive.CASES["wf-main:stream"]).status)

    drive.call(servers.base, servers.apps, drive.CASES["wf-main:stream"])
    calling = [threading.Thread(target=call) for _ in range(CALLS)]
    with psycopg2.connect(host="127.0.0.1", port=port, user="dify", dbname="postgres") as connection:
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLE apps IN ACCESS EXCLUSIVE MODE")
            with watched(servers.base) as seen:
                for thread in calling:
                    thread.start()
                time.sleep(LOCKED_SECONDS)
                assert outcomes == []
        connection.rollback()
    connection.close()
    for thread in calling:
        thread.join(60)
    return seen, outcomes


def test_a_locked_table_stalls_health_no_more_than_without_us(
    doors: Mapping[str, Any], start: Any, servers: processes.Backing
) -> None:
    with processes.api(servers, name="api-lock-bare"), processes.worker(servers, name="worker-lock-bare"):
        bare, without = _while_locked(servers)
    names = {"api": {"name": "api-lock"}, "worker": {"name": "worker-lock"}}
    with start(doors["inject"], **names):
        ours, with_us = _while_locked(servers)
    assert without == with_us == ["succeeded"] * CALLS
    print(f"/health while a table is locked: without us at most {max(bare):.3f} s, with us {max(ours):.3f} s")
    # Half a second for a busy machine; waiting for the lock in the event loop would take all of its three.
    assert max(ours) < max(bare) + 0.5


def test_nothing_listens_that_did_not_without_us(doors: Mapping[str, Any], start: Any) -> None:
    names = {"api": {"name": "api-sockets"}, "worker": {"name": "worker-sockets"}}
    with start(doors["inject"], **names) as running:
        running.call("wf-main:stream")
        api = _listening([running.api.pid, *children(running.api.pid)])
        assert api == {int(running.servers.base.rsplit(":", 1)[1])}
        assert _listening([running.worker.pid, *children(running.worker.pid)]) == set()


def _listening(pids: list[int]) -> set[int]:
    """Ports these processes listen on, by the kernel's own tables; a UNIX socket that listens counts as -1."""
    inodes = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = os.readlink(descriptor)
            except OSError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    ports = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            listening = words[3] == "0A" if table.startswith("tcp") else True
            if listening and words[9] in inodes:
                ports.add(int(words[1].rsplit(":", 1)[1], 16))
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        words = line.split()
        if words[6] in inodes and int(words[3], 16) & 0x10000:  # SO_ACCEPTCON
            ports.add(-1)
    return ports


def test_the_inspection_of_sockets_sees_a_listener() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        assert listening.getsockname()[1] in _listening([os.getpid()])


FORGED = "forged-9c21"
CALLERS_OWN = {
    "dify.end_user.session_id",
    "enduser.id",
    "gen_ai.user.id",
    "http.user_agent",
    "user.id",
    "user_agent.original",
}


def test_users_cannot_forge_resource_scope_or_attributes(doors: Mapping[str, Any], start: Any, receiver: Any) -> None:
    names = {"api": {"name": "api-forged"}, "worker": {"name": "worker-forged"}}
    with start(doors["inject"], **names) as running:
        app = running.servers.apps["wf-main"]
        parent, trace_id = drive.traceparent()
        forged = ("service.name", "service.instance.id", "telemetry.sdk.name", "otel.scope.name", "dify.app.id")
        status, _ = drive.request(
            "POST",
            f"{running.servers.base}/v1/workflows/run",
            {
                "inputs": {"query": "museums", **dict.fromkeys(forged, FORGED)},
                "user": f"someone\nservice.name={FORGED}",
                "response_mode": "blocking",
                **dict.fromkeys(forged, FORGED),
            },
            {
                "Authorization": f"Bearer {app['key']}",
                "traceparent": parent,
                "baggage": ",".join(f"{name}={FORGED}" for name in forged),
                "tracestate": f"service={FORGED}",
                "OTEL-RESOURCE-ATTRIBUTES": f"service.name={FORGED}",
                "X-Service-Name": FORGED,
                "User-Agent": "service.name=" + FORGED,
            },
        )
        assert status == 200
        receiver.wait_for(
            lambda spans: [s for s in spans if s.trace_id == trace_id and s.name.startswith("POST /v1")], 20
        )
        mine = [s for s in receiver.spans if s.trace_id == trace_id]
    assert len(mine) > 5
    for span in mine:
        assert span.service in ("dify-api", "dify-worker")
        assert FORGED not in f"{span.resource}{span.scope}{span.scope_version}{span.name}"
        assert not set(span.attributes) & set(forged[:4])
        kept = {k for k, v in span.attributes.items() if FORGED in str(v)}
        # What a caller says about himself stays under the names for that.
        assert kept <= CALLERS_OWN, kept
