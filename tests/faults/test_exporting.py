"""A backend that is away, slow, refuses or talks nonsense: calls go on, queue and log are bounded, losses counted.

Each fault against a process of its own with the agent's SDK (`program.py`), under gevent and in plain threads.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults import backend as backends

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(__file__).parent / "program.py"
KEY = "canary-licence-key-4b1d"
FLUSH_SECONDS = 0.5
STARTING_SECONDS = 40.0
STOOD_STILL_SECONDS = 5.0
"""A loop that waits for an exporter stands still for its timeout, ten seconds; a busy machine for less than this."""
ENDING_SECONDS = 14.0
"""From the last line to the end: the flush, and an interpreter taking itself apart on a busy machine."""
LINES_MAX = 8
"""The line of the start, one for each of the exporter's loggers, the full queue, what was left behind."""


@dataclass(frozen=True)
class Fared:
    """How a process got on."""

    report: Mapping[str, Any]
    errors: str
    returned: int
    ending: float

    @property
    def lines(self) -> list[str]:
        """Without those of gRPC's C core: one for each failed handshake or refused header, nothing of theirs in it."""
        theirs = ("filter_stack_call.cc", "absl::InitializeLog", "ssl_transport_security.cc", "ev_poll_posix.cc")
        return [line for line in self.errors.splitlines() if not any(t in line for t in theirs)]


def environment(endpoint: str, protocol: str, more: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "DIFY_OTEL_"))}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("bootstrap", "instrumentors")),
        "PYTHONUNBUFFERED": "1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_HEADERS": f"authentication={KEY}",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "OTEL_METRIC_EXPORT_INTERVAL": "500",
        "DIFY_OTEL_FLUSH_SECONDS": str(FLUSH_SECONDS),
        **more,
    }


def run(
    mode: str, endpoint: str, protocol: str, seconds: float = 1.0, lines_max: int = LINES_MAX, **more: str
) -> Fared:
    command = [sys.executable, str(PROGRAM), mode, str(seconds)]
    with subprocess.Popen(
        command, env=environment(endpoint, protocol, more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        guard = threading.Timer(seconds + STARTING_SECONDS, process.kill)
        guard.start()
        assert process.stdout is not None and process.stderr is not None
        try:
            line = process.stdout.readline()
            told = time.perf_counter()
            _, errors = process.communicate(timeout=ENDING_SECONDS * 2)
        finally:
            guard.cancel()
            process.kill()
    fared = Fared(json.loads(line or "{}"), errors, process.returncode, time.perf_counter() - told)
    unharmed(fared, lines_max)
    return fared


def unharmed(fared: Fared, lines_max: int) -> None:
    report = fared.report
    assert fared.returned == 0, fared.errors
    assert report["made"] > 0 and report["right"] == report["made"]
    assert report["gap"] < STOOD_STILL_SECONDS and report["longest"] < STOOD_STILL_SECONDS
    assert report["flushed"] < FLUSH_SECONDS + STOOD_STILL_SECONDS
    assert fared.ending < ENDING_SECONDS
    assert KEY not in fared.errors
    assert "Traceback" not in fared.errors, fared.errors
    assert len(fared.lines) <= lines_max, fared.errors
    assert max(map(len, fared.lines)) < 700


def lost(fared: Fared) -> int:
    """What the process itself says it lost, the line at its end included."""
    left = [int(line.split()[1]) for line in fared.lines if "were not sent before the process ended" in line]
    return int(fared.report["failed"]) + int(fared.report["dropped"]) + sum(left)


@contextmanager
def away(how: str, untrusted: Path) -> Iterator[str]:
    """An endpoint that is of no use."""
    if how == "absent":
        with backends.nobody() as endpoint:
            yield endpoint
    elif how == "unknown name":
        yield "http://no-such-collector.invalid:4317"
    elif how == "silent":
        with backends.babble() as port:
            yield f"http://127.0.0.1:{port}"
    elif how == "garbage":
        with backends.babble(bytes(range(256)) * 4) as port:
            yield f"http://127.0.0.1:{port}"
    elif how == "untrusted certificate":
        with backends.babble(certificate=untrusted) as port:
            yield f"https://127.0.0.1:{port}"
    elif how == "no TLS there":
        with backends.babble(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
            yield f"https://127.0.0.1:{port}"


HOW = ("absent", "unknown name", "silent", "garbage", "untrusted certificate", "no TLS there")


EVERYWHERE = tuple((mode, protocol) for mode in ("gevent", "threads") for protocol in ("grpc", "http/protobuf"))


def everywhere(attempt: Callable[[str, str], Any]) -> None:
    """Under gevent and in threads, over gRPC and HTTP, at the same time: most of it is waiting."""
    with ThreadPoolExecutor(len(EVERYWHERE)) as pool:
        for attempted in [pool.submit(attempt, *where) for where in EVERYWHERE]:
            attempted.result()


@pytest.mark.parametrize("how", HOW)
def test_a_backend_that_is_not_there(how: str, untrusted: Path) -> None:
    def attempt(mode: str, protocol: str) -> None:
        fared = run(mode, endpoint, protocol)
        assert fared.report["exported"] == 0
        assert lost(fared) == fared.report["ended"]

    with away(how, untrusted) as endpoint:
        everywhere(attempt)


@pytest.mark.parametrize("fault", backends.MODES[1:])
def test_a_backend_that_refuses(fault: str) -> None:
    def attempt(mode: str, protocol: str) -> None:
        with backends.Backend(protocol) as backend:
            backend.mode = fault
            fared = run(mode, backend.endpoint, protocol)
            assert backend.asked[fault] > 0
            assert backend.spans == []
        # Over HTTP a success is a success whatever its body says; over gRPC an answer nobody can read is none.
        exported = fared.report["exported"]
        assert exported == 0 or (fault == "nonsense" and protocol != "grpc")
        assert lost(fared) + exported == fared.report["ended"]

    everywhere(attempt)


def test_a_backend_that_works_gets_everything() -> None:
    def attempt(mode: str, protocol: str) -> None:
        with backends.Backend(protocol) as backend:
            more = {"OTEL_BSP_MAX_QUEUE_SIZE": "20000", "DIFY_OTEL_FLUSH_SECONDS": "20"}
            fared = run(mode, backend.endpoint, protocol, **more)
            assert lost(fared) == 0
            assert len(backend.spans) == fared.report["ended"] == 2 * fared.report["made"]

    everywhere(attempt)


def test_with_no_room_what_is_lost_is_counted_exactly() -> None:
    def attempt(mode: str, protocol: str) -> None:
        with backends.Backend(protocol) as backend:
            backend.mode = "slow"
            more = {"OTEL_BSP_MAX_QUEUE_SIZE": "16", "OTEL_EXPORTER_OTLP_TIMEOUT": "30"}
            fared = run(mode, backend.endpoint, protocol, **more)
            assert fared.report["dropped"] > 0
            assert fared.report["ended"] - len(backend.spans) == lost(fared)

    everywhere(attempt)


def test_a_backend_that_comes_back_gets_what_is_new(backend: backends.Backend) -> None:
    backend.mode = "503"
    command = [sys.executable, str(PROGRAM), "gevent", "8"]
    with subprocess.Popen(
        command,
        env=environment(backend.endpoint, backend.protocol, {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            deadline = time.monotonic() + 20
            while not backend.asked["503"] and time.monotonic() < deadline:
                time.sleep(0.05)
            backend.mode = "ok"
            while not backend.spans and time.monotonic() < deadline + 20:
                time.sleep(0.05)
            assert backend.spans
        finally:
            process.kill()
            process.communicate()


def test_a_collector_that_is_stopped_and_continued(backend: backends.Backend, tmp_path: Path) -> None:
    """SIGSTOP: its kernel still accepts connections and bytes, nobody answers."""
    script = (
        "import sys, time; from tests.faults.backend import Backend\n"
        "with Backend(sys.argv[1]) as b:\n"
        "    print(b.endpoint, flush=True)\n"
        "    time.sleep(60)\n"
    )
    roots = (ROOT, ROOT / "bootstrap", ROOT / "instrumentors")
    there = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, roots))}
    with subprocess.Popen(
        [sys.executable, "-c", script, backend.protocol], env=there, stdout=subprocess.PIPE, text=True
    ) as collector:
        assert collector.stdout is not None
        try:
            endpoint = collector.stdout.readline().strip()
            collector.send_signal(signal.SIGSTOP)
            with ThreadPoolExecutor(2) as pool:
                modes = ("gevent", "threads")
                for fared in list(pool.map(lambda mode: run(mode, endpoint, backend.protocol), modes)):
                    assert lost(fared) == fared.report["ended"] > 0
            collector.send_signal(signal.SIGCONT)
            more = {"OTEL_BSP_MAX_QUEUE_SIZE": "20000", "DIFY_OTEL_FLUSH_SECONDS": "20"}
            assert lost(run("gevent", endpoint, backend.protocol, seconds=0.5, **more)) == 0
        finally:
            collector.kill()


UNREADABLE = {
    "OTEL_BSP_MAX_QUEUE_SIZE": ("abc", "0", "-5", "1e400"),
    "OTEL_BSP_SCHEDULE_DELAY": ("soon", "0"),
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": ("1000000", "none"),
    "OTEL_EXPORTER_OTLP_TIMEOUT": ("10s", "nan"),
    "OTEL_EXPORTER_OTLP_COMPRESSION": ("zip",),
    "OTEL_METRIC_EXPORT_INTERVAL": ("1m",),
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": ("many", "-1"),
    "OTEL_TRACES_SAMPLER": ("sometimes",),
    "OTEL_TRACES_SAMPLER_ARG": ("half",),
    "OTEL_RESOURCE_ATTRIBUTES": ("=,;%zz=1,a",),
    "OTEL_EXPORTER_OTLP_CERTIFICATE": ("/no/such/file.pem",),
}


ROUNDS = max(map(len, UNREADABLE.values()))


def test_values_the_sdk_cannot_read_do_not_cost_the_traces() -> None:
    """All at once, each round with the next value of each name: a process per value would take minutes."""

    def attempt(number: int) -> None:
        values = {name: known[number % len(known)] for name, known in UNREADABLE.items()}
        with backends.Backend("grpc") as backend:
            more = {**values, "DIFY_OTEL_FLUSH_SECONDS": "20"}
            fared = run("threads", backend.endpoint, "grpc", 0.05, LINES_MAX + len(UNREADABLE), **more)
            assert len(backend.spans) == fared.report["ended"] > 0, (values, fared.errors)

    with ThreadPoolExecutor(ROUNDS) as pool:
        assert len(list(pool.map(attempt, range(ROUNDS)))) == ROUNDS


HEADERS = (
    f"authentication={KEY}-schlüssel",
    f"Authentication: {KEY}",
    f"authentication={KEY}%0D%0Ainjected%3A 1",
    f"authentication=%00{KEY}",
    f"bad name={KEY}",
    f"authorization=Bearer {KEY},x={KEY}",
)


def test_a_line_of_theirs_that_quotes_a_key_shows_none() -> None:
    from dify_otel import quiet

    confided = {
        "OTEL_EXPORTER_OTLP_HEADERS": f"authentication={KEY}-1,authorization=Bearer%20{KEY}-2",
        "OTEL_EXPORTER_OTLP_LOGS_HEADERS": f"x={KEY}-3",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://somebody:{KEY}-4@collector",
        "DIFY_OTEL_ARMS_LICENSE_KEY": f"{KEY}-5",
    }
    said = " ".join(f"{KEY}-{number}" for number in range(1, 6))
    record = logging.LogRecord("theirs", logging.ERROR, "file", 1, "refused: %s", (said,), None)
    assert quiet.Quiet(quiet.secrets(confided)).filter(record)
    assert record.getMessage() == "refused: " + " ".join(["***"] * 5)


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_header_that_cannot_be_sent_is_not_quoted(protocol: str) -> None:
    with backends.Backend(protocol) as backend, ThreadPoolExecutor(len(HEADERS)) as pool:
        for ran in [
            pool.submit(run, "threads", backend.endpoint, protocol, 0.3, OTEL_EXPORTER_OTLP_HEADERS=headers)
            for headers in HEADERS
        ]:
            ran.result()
