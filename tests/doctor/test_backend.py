"""The request to the backend, against real servers: what each failure is called and what it advises."""

from __future__ import annotations

import http.server
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dify_otel import settings
from dify_otel.doctor import backend, examination, probe
from dify_otel.doctor.probe import FAILED, PARTLY, REACHED, Target

Server = Callable[..., Any]


class Receiver(http.server.BaseHTTPRequestHandler):
    status = 200
    seen: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.seen.append({"path": self.path, "body": body, "headers": dict(self.headers)})
        status = self.status if self.path == "/v1/traces" else 404
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None: ...


@contextmanager
def http_server(status: int = 200, context: ssl.SSLContext | None = None) -> Iterator[tuple[int, list[Any]]]:
    handler = type("Handler", (Receiver,), {"status": status, "seen": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1], handler.seen  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def grpc_server(code: str = "OK", service: str = probe.SERVICE, delay: Any = None) -> Iterator[tuple[int, list[Any]]]:
    grpc: Any = pytest.importorskip("grpc", reason="grpcio is not installed")
    seen: list[Any] = []

    def export(request: bytes, context: Any) -> bytes:
        seen.append((request, dict(context.invocation_metadata())))
        if delay is not None:
            delay.wait(10)
        if code != "OK":
            context.abort(getattr(grpc.StatusCode, code), "no")
        return b""

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(export) if details.method == service else None

    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port, seen
    finally:
        server.stop(0)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(
        [openssl, *words.split(), "-keyout", "key.pem", "-out", "cert.pem"], cwd=folder, check=True, capture_output=True
    )
    return folder


def tls(folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def over_http(port: int, path: str = "/v1/traces", **more: Any) -> probe.Answer:
    secure = more.pop("secure", False)
    url = f"{'https' if secure else 'http'}://127.0.0.1:{port}{path}"
    return probe.send(Target("http/protobuf", url, secure, timeout=more.pop("timeout", 5.0), **more))


def over_grpc(port: int, **more: Any) -> probe.Answer:
    more.setdefault("timeout", 5.0)
    return probe.send(Target("grpc", f"http://127.0.0.1:{port}", more.pop("secure", False), **more))


def test_http_reached_with_one_empty_request() -> None:
    with http_server() as (port, seen):
        answer = over_http(port, headers={"authorization": "Bearer k"})
    assert (answer.state, answer.reason) == (REACHED, "ok")
    assert len(seen) == 1
    assert seen[0]["body"] == b""
    assert seen[0]["headers"]["authorization"] == "Bearer k"
    assert seen[0]["headers"]["Content-Type"] == "application/x-protobuf"


@pytest.mark.parametrize(
    ("status", "state", "reason"),
    [
        (202, REACHED, "ok"),
        (400, PARTLY, "empty"),
        (401, FAILED, "auth"),
        (403, FAILED, "auth"),
        (415, FAILED, "protocol"),
        (429, PARTLY, "limited"),
        (503, FAILED, "backend"),
    ],
)
def test_http_statuses(status: int, state: str, reason: str) -> None:
    with http_server(status) as (port, _):
        answer = over_http(port)
    assert (answer.state, answer.reason) == (state, reason)
    assert str(status) in answer.text


def test_a_wrong_path() -> None:
    with http_server() as (port, _):
        answer = over_http(port, "/v1/traces/v1/traces")
    assert (answer.state, answer.reason) == (FAILED, "path")
    assert "/v1/traces is added" in answer.advice


def test_grpc_reached_with_one_empty_request() -> None:
    with grpc_server() as (port, seen):
        answer = over_grpc(port, headers={"Authentication": "k"})
    assert (answer.state, answer.reason) == (REACHED, "ok")
    assert seen[0][0] == b""
    assert seen[0][1]["authentication"] == "k"


@pytest.mark.parametrize(
    ("code", "state", "reason"),
    [
        ("UNAUTHENTICATED", FAILED, "auth"),
        ("PERMISSION_DENIED", FAILED, "auth"),
        ("RESOURCE_EXHAUSTED", PARTLY, "limited"),
        ("INTERNAL", FAILED, "backend"),
    ],
)
def test_grpc_statuses(code: str, state: str, reason: str) -> None:
    with grpc_server(code) as (port, _):
        answer = over_grpc(port)
    assert (answer.state, answer.reason) == (state, reason)
    assert code in answer.text


def test_another_grpc_service() -> None:
    with grpc_server(service="/some.Other/Thing") as (port, _):
        assert over_grpc(port).reason == "path"


def test_a_backend_that_hangs() -> None:
    released = threading.Event()
    with grpc_server(delay=released) as (port, _):
        answer = over_grpc(port, timeout=0.5)
        released.set()
    assert (answer.state, answer.reason) == (FAILED, "timeout")


def test_ports_swapped() -> None:
    with http_server() as (port, _):
        answer = over_grpc(port)
    assert (answer.state, answer.reason) == (FAILED, "protocol")
    assert "http/protobuf" in answer.advice
    with grpc_server() as (port, _):
        answer = over_http(port, timeout=2)
    assert answer.state == FAILED
    assert answer.reason in ("protocol", "timeout")


def test_nothing_listens(free_port: int) -> None:
    for answer in (over_http(free_port), over_grpc(free_port)):
        assert (answer.state, answer.reason) == (FAILED, "refused")
        assert f"127.0.0.1:{free_port}" in answer.text


def test_a_name_nobody_knows() -> None:
    answer = probe.send(Target("grpc", "http://otel-collector.invalid:4317", False))
    assert (answer.state, answer.reason) == (FAILED, "dns")
    assert "otel-collector.invalid" in answer.text


def test_nobody_answers() -> None:
    holder = socket.socket()
    holder.bind(("127.0.0.1", 0))
    holder.listen(0)
    fill = [socket.socket() for _ in range(4)]
    try:
        for one in fill:
            one.setblocking(False)
            one.connect_ex(holder.getsockname())
        answer = over_http(holder.getsockname()[1], timeout=0.5)
    finally:
        for one in (holder, *fill):
            one.close()
    assert (answer.state, answer.reason) == (FAILED, "timeout")


def test_an_untrusted_certificate(certificate: Path) -> None:
    with http_server(context=tls(certificate)) as (port, _):
        refused = over_http(port, secure=True)
        trusted = over_http(port, secure=True, certificate=str(certificate / "cert.pem"))
        grpc = over_grpc(port, secure=True)
    assert (refused.state, refused.reason) == (FAILED, "tls")
    assert "OTEL_EXPORTER_OTLP_CERTIFICATE" in refused.advice
    assert trusted.state == REACHED
    assert grpc.reason == "tls"


def test_tls_to_a_plain_port_and_the_reverse(certificate: Path) -> None:
    with http_server() as (port, _):
        answer = over_http(port, secure=True, timeout=2)
    assert (answer.state, answer.reason) == (FAILED, "tls")
    assert "http://" in answer.advice
    with http_server(context=tls(certificate)) as (port, _):
        answer = over_grpc(port)
    assert answer.state == FAILED
    assert "https://" in answer.advice


def test_a_certificate_that_is_not_there(free_port: int, tmp_path: Path) -> None:
    with http_server() as (port, _):
        answer = over_http(port, secure=True, certificate=str(tmp_path / "none.pem"))
    assert (answer.state, answer.reason) == (FAILED, "tls")
    assert "paths inside this container" in answer.advice


# --- which target a configuration means


@pytest.mark.parametrize(
    ("environ", "url", "protocol", "secure"),
    [
        ({}, "http://localhost:4317", "grpc", False),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": ""}, "http://localhost:4317", "grpc", False),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "http://localhost:4318/v1/traces", "http/protobuf", False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"}, "collector:4317", "grpc", True),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317", "OTEL_EXPORTER_OTLP_INSECURE": "true"},
            "collector:4317",
            "grpc",
            False,
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c/x/", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"},
            "https://c/x/v1/traces",
            "http/protobuf",
            True,
        ),
        (
            {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c/t", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
            "http://c/t",
            "http/protobuf",
            False,
        ),
    ],
)
def test_the_target_is_the_exporters(environ: dict[str, str], url: str, protocol: str, secure: bool) -> None:
    target = backend.own_target(environ, settings.read(environ), 1.0)
    assert target is not None
    assert (target.url, target.protocol, target.secure) == (url, protocol, secure)


def test_arms_settings_win() -> None:
    environ = {
        "DIFY_OTEL_ARMS_ENDPOINT": "http://tracing-analysis-dc-hz.aliyuncs.com",
        "DIFY_OTEL_ARMS_LICENSE_KEY": "abc@123_def@456",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "",
    }
    chosen = settings.read(environ)
    values, wrong = backend.effective(environ, chosen)
    target = backend.own_target(values, chosen, 1.0)
    assert wrong == ""
    assert target is not None
    assert ":8090" in target.url
    assert target.headers == {"authentication": "abc@123_def@456"}
    assert "abc@123" not in backend.shown(target)


def test_difys_own_exporter_when_it_is_adopted() -> None:
    target = backend.native_target({"OTLP_BASE_ENDPOINT": "http://c:4318", "OTLP_API_KEY": "k"}, 1.0)
    assert target is not None
    assert (target.url, target.headers) == ("http://c:4318/v1/traces", {"authorization": "Bearer k"})


# --- the whole


def test_a_refused_key_is_not_working(tree: Any, environ: dict[str, str], python: str) -> None:
    with http_server(401) as (port, seen):
        given = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        }
        report = examination.examine(str(tree("D")), python, environ=environ | given)
    assert len(seen) == 1
    assert report.exit_code == 2
    assert report.backend["reason"] == "auth"


def test_reached_through_another_interpreter(tree: Any, environ: dict[str, str], tmp_path: Path, python: str) -> None:
    pytest.importorskip("grpc", reason="grpcio is not installed")
    other = tmp_path / "python"
    other.write_text(f'#!/bin/sh\nexec {python} "$@"\n')
    other.chmod(0o755)
    with grpc_server() as (port, seen):
        given = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}
        report = examination.examine(str(tree("D")), str(other), environ=environ | given)
    assert report.backend["state"] == REACHED
    assert len(seen) == 1


def test_no_network_sends_nothing(tree: Any, environ: dict[str, str], python: str) -> None:
    with http_server() as (port, seen):
        given = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        }
        report = examination.examine(str(tree("D")), python, environ=environ | given, network=False)
    assert seen == []
    assert report.backend["state"] == "not tried"
