"""HTTPS works inside a gevent process under us, also when spans leave over HTTP.

Imported before gevent patches, the OTLP/HTTP exporter makes every later TLS context a RecursionError; certificate
checks are left on here, because that is where it happens.
"""

from __future__ import annotations

import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from dify_otel.tail.receiver import Receiver

from tests.standin import drive, processes

FACTORY = """
import flask

class Config:
    class project:
        version = "1.16.1"

def initialize_extensions(app):
    pass

def create_app():
    app = flask.Flask("tiny")
    initialize_extensions(app)

    @app.get("/health")
    def health():
        return "ok"

    @app.get("/fetch")
    def fetch():
        import ssl, httpx
        context = ssl.create_default_context(cafile=flask.request.args["ca"])
        return httpx.get(flask.request.args["url"], verify=context).text

    return app
"""


class _Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, format: str, *args: Any) -> None:
        return None


@pytest.fixture
def https(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hello)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://localhost:{server.server_address[1]}/", certificate
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("door", ["inject", "distro"])
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_https_from_inside(
    door: str, protocol: str, https: tuple[str, Path], doors: Mapping[str, Any], tmp_path: Path
) -> None:
    url, ca = https
    (tmp_path / "app_factory.py").write_text(FACTORY)
    (tmp_path / "app.py").write_text("from app_factory import create_app\napp = create_app()\n")
    port = processes.free_port()
    way = doors[door]
    command = [
        *way.wrap,
        str(Path(sys.executable).parent / "gunicorn"),
        "-k",
        "gevent",
        "-b",
        f"127.0.0.1:{port}",
        "app:app",
    ]
    with Receiver() as receiver:
        endpoint = receiver.grpc_endpoint if protocol == "grpc" else receiver.http_endpoint
        environment = {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            **way.environment,
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        }
        process = processes.spawn("tiny", command, tmp_path, cwd=tmp_path, env=environment)
        try:
            processes.until(lambda: processes.answers(f"http://127.0.0.1:{port}/health"), process, 40)
            status, body = drive.request("GET", f"http://127.0.0.1:{port}/fetch?url={url}&ca={ca}")
            assert (status, body) == (200, b"hello"), process.tail()
            receiver.wait_for(lambda spans: [s for s in spans if s.name.startswith("GET /fetch")], 20)
            assert "RecursionError" not in process.text()
            assert "MonkeyPatchWarning" not in process.text()
        finally:
            process.stop()
