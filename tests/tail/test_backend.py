"""Passing on to a backend the user has. The program here is a small server of our own under the backend's name,
started, fed and stopped the way the real one is; the last test takes the real Phoenix where it is installed."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest
from dify_otel.tail.backend import MAX_WAITING, Backend, DidNotStart, NotInstalled, Plan, plan
from dify_otel.tail.receiver import Receiver
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

from .sample import request
from .sending import send

SERVER = """
import os, sys, threading
from http.server import BaseHTTPRequestHandler, HTTPServer
class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open(sys.argv[1], "ab") as file: file.write(body)
        self.do_GET()
    def log_message(self, *_): pass
HTTPServer(("127.0.0.1", int(os.environ["UI_PORT"])), Answer).serve_forever()
"""


def stand_in(directory: Path, source: str = SERVER, port: int = 0) -> Plan:
    with Receiver() as closed_again:
        port = port or closed_again.http_port
    command = (sys.executable, "-c", source, str(directory / "received"))
    return Plan(
        "Stand-in", command, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port}/v1/traces", {"UI_PORT": str(port)}
    )


def test_what_arrives_is_passed_on_byte_for_byte(tmp_path: Path) -> None:
    sent: list[bytes] = []
    with (tmp_path / "log").open("wb") as log, Backend(stand_in(tmp_path), log) as backend:

        def both(kind: str, body: bytes) -> None:
            sent.append(body)
            backend.pass_on(kind, body)

        with Receiver(on_request=both) as receiver:
            exporter = OTLPSpanExporter(endpoint=receiver.grpc_endpoint, insecure=True)
            send(exporter, request())
            exporter.shutdown()
    assert (tmp_path / "received").read_bytes() == sent[0]
    assert backend.dropped == 0


def test_it_is_stopped_with_us(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log, Backend(stand_in(tmp_path), log) as backend:
        url = backend.plan.ui
        with urllib.request.urlopen(url, timeout=5):
            pass
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=5)


def test_one_that_ends_at_once_is_said(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log, pytest.raises(DidNotStart, match="status 7"):
        Backend(stand_in(tmp_path, "raise SystemExit(7)"), log).__enter__()


def test_one_that_never_answers_is_said_and_stopped(tmp_path: Path) -> None:
    source = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
    with (tmp_path / "log").open("wb") as log, pytest.raises(DidNotStart, match="did not answer"):
        Backend(stand_in(tmp_path, source), log, ready_seconds=1.5).__enter__()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "received").read_text()), 0)


def test_one_that_hangs_blocks_nobody(tmp_path: Path) -> None:
    hanging = SERVER.replace("body = ", "import time; time.sleep(600); body = ")
    with (tmp_path / "log").open("wb") as log, Backend(stand_in(tmp_path, hanging), log) as backend:
        begun = time.monotonic()
        for _ in range(1_000):
            backend.pass_on("traces", b"")
        assert time.monotonic() - begun < 5
    assert backend.dropped >= 1_000 - MAX_WAITING - 1
    assert time.monotonic() - begun < 15


def test_one_that_dies_costs_copies_not_the_receiver(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log, Backend(stand_in(tmp_path), log) as backend:
        assert backend._process
        backend._process.kill()
        backend._process.wait(10)
        begun = time.monotonic()
        for _ in range(1_000):
            backend.pass_on("traces", b"")
        assert time.monotonic() - begun < 5
    assert backend.dropped > 0


def program(directory: Path, name: str) -> None:
    path = directory / name
    path.write_text("#!/bin/sh\nexit 0\n")
    path.chmod(0o755)


def test_jaeger_gets_its_own_ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "jaeger")
    monkeypatch.setenv("PATH", str(tmp_path))
    chosen = plan("jaeger")
    assert chosen.command[0] == str(tmp_path / "jaeger")
    settings = dict(
        argument.removeprefix("--set=receivers.otlp.protocols.").split("=") for argument in chosen.command[1:]
    )
    assert set(settings) == {"grpc.endpoint", "http.endpoint"}
    assert chosen.traces == f"http://{settings['http.endpoint']}/v1/traces"
    assert not {"4317", "4318"} & {endpoint.split(":")[1] for endpoint in settings.values()}


def test_phoenix_on_the_path_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "phoenix")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    chosen = plan("phoenix")
    assert chosen.command == (str(tmp_path / "phoenix"), "serve")
    assert chosen.environment["PHOENIX_HOST"] == "127.0.0.1"
    assert chosen.environment["PHOENIX_GRPC_PORT"] != "4317"
    assert chosen.ui.endswith(chosen.environment["PHOENIX_PORT"])


def test_neither_is_invented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    for name in ("phoenix", "jaeger"):
        with pytest.raises(NotInstalled):
            plan(name)


def _phoenix_is_here() -> bool:
    try:
        plan("phoenix")
    except NotInstalled:
        return False
    return find_spec("phoenix") is not None or "PHOENIX_TEST" in os.environ


@pytest.mark.skipif(not _phoenix_is_here(), reason="Phoenix is not installed here (pip install arize-phoenix)")
def test_the_real_phoenix_shows_the_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHOENIX_WORKING_DIR", str(tmp_path / "phoenix"))
    with (tmp_path / "log").open("wb") as log, Backend(plan("phoenix"), log) as backend:
        with Receiver(on_request=backend.pass_on) as receiver:
            exporter = OTLPSpanExporter(endpoint=receiver.grpc_endpoint, insecure=True)
            send(exporter, request())
            exporter.shutdown()
        url = f"{backend.plan.ui}/v1/projects/default/spans?limit=100"
        deadline = time.monotonic() + 60
        names: set[str] = set()
        while "chat stub-chat" not in names and time.monotonic() < deadline:
            with urllib.request.urlopen(url, timeout=10) as answer:
                names = {one["name"] for one in json.load(answer)["data"]}
            time.sleep(0.2)
    assert {"POST /v1/workflows/run", "chat stub-chat", "execute_tool parcel_status"} <= names
    assert backend.dropped == 0
