"""An OTLP backend that misbehaves on request: it refuses, dawdles, talks nonsense, or is as it should be.

Its mode can change while a process exports to it, so that one process lives through one fault after the other. It
counts the spans it accepted, and only those: what an exporter is told was refused must not be counted as received.
"""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
from dify_otel.tail import otlp
from dify_otel.tail.span import Span

MODES = ("ok", "401", "413", "429", "503", "slow", "nonsense")
"""What can be asked of a `Backend`: statuses, answers after ten seconds, a success whose body is none."""
SLOW_SECONDS = 10.0
RETRY_AFTER = "30"
NONSENSE = b"\xff\xff\xff\xff nonsense"

_CODES = {
    "401": grpc.StatusCode.UNAUTHENTICATED,
    "413": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "429": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "503": grpc.StatusCode.UNAVAILABLE,
}
_RETRY_INFO = (("google.rpc.retryinfo-bin", b"\x0a\x02\x08\x1e"),)
"""google.rpc.RetryInfo of thirty seconds."""


class Backend:
    """`with Backend("grpc") as backend:` listens on a free loopback port; set `mode` at any time."""

    def __init__(self, protocol: str) -> None:
        self.protocol = protocol
        self.mode = "ok"
        self.endpoint = ""
        self.spans: list[Span] = []
        self.asked: Counter[str] = Counter()
        """Export requests by the mode they met."""
        self._stop = threading.Event()
        self._server: Any = None

    def __enter__(self) -> Backend:
        port = self._grpc() if self.protocol == "grpc" else self._http()
        self.endpoint = f"http://127.0.0.1:{port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self.protocol == "grpc":
            self._server.stop(0).wait(5)
        else:
            self._server.shutdown()
            self._server.server_close()

    def _keep(self, signal: str, body: bytes) -> None:
        if signal == "trace":
            self.spans.extend(otlp.spans(body))

    def _grpc(self) -> int:
        def handler(signal: str) -> Any:
            def export(body: bytes, context: Any) -> bytes:
                mode = self.mode
                self.asked[mode] += 1
                if mode == "slow":
                    self._stop.wait(SLOW_SECONDS)
                if mode in _CODES:
                    if mode == "429":
                        context.set_trailing_metadata(_RETRY_INFO)
                    context.abort(_CODES[mode], "no")
                if mode == "nonsense":
                    return NONSENSE
                self._keep(signal, body)
                return b""

            methods = {"Export": grpc.unary_unary_rpc_method_handler(export)}
            service = f"opentelemetry.proto.collector.{signal}.v1.{signal.capitalize()}Service"
            return grpc.method_handlers_generic_handler(service, methods)

        signals = ("trace", "metrics", "logs")
        options = [("grpc.so_reuseport", 0)]
        self._server = grpc.server(ThreadPoolExecutor(8), tuple(map(handler, signals)), options=options)
        port = int(self._server.add_insecure_port("127.0.0.1:0"))
        self._server.start()
        return port

    def _http(self) -> int:
        backend = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                mode = backend.mode
                backend.asked[mode] += 1
                if mode == "slow":
                    backend._stop.wait(SLOW_SECONDS)
                status = int(mode) if mode in _CODES else 200
                answer = NONSENSE if mode == "nonsense" else b""
                if status == 200 and mode != "nonsense":
                    if self.headers.get("content-encoding") == "gzip":
                        import gzip

                        body = gzip.decompress(body)
                    backend._keep("trace" if self.path.endswith("/traces") else "other", body)
                try:
                    self.send_response(status)
                    if mode == "429":
                        self.send_header("Retry-After", RETRY_AFTER)
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)
                except OSError:
                    return  # the exporter has given up meanwhile

            def log_message(self, *_: object) -> None:
                return

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                return

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return int(self._server.server_address[1])


@contextmanager
def nobody() -> Iterator[str]:
    """An endpoint where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


@contextmanager
def babble(answer: bytes = b"", certificate: Path | None = None) -> Iterator[int]:
    """A TCP port that answers every connection with these bytes and hangs up; none: that never answers.

    With a certificate it speaks TLS with it first.
    """
    stop = threading.Event()
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.2)

        def talk(connection: socket.socket) -> None:
            connection.settimeout(5)
            try:
                with connection:
                    if context is not None:
                        with context.wrap_socket(connection, server_side=True) as secure:
                            secure.recv(4096)
                            return
                    if not answer:
                        stop.wait(60)
                        return
                    connection.recv(4096)
                    connection.sendall(answer)
            except OSError:
                return

        def serve() -> None:
            while not stop.is_set():
                try:
                    connection, _ = listening.accept()
                except OSError:
                    continue
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        try:
            yield listening.getsockname()[1]
        finally:
            stop.set()
            server.join(5)


def certificate(directory: Path) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key, that nobody trusts."""
    whole = directory / "untrusted.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(directory / "key.pem"), "-out", str(directory / "cert.pem")]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *files],
        check=True,
        capture_output=True,
        env=dict(os.environ),
    )
    whole.write_text((directory / "key.pem").read_text() + (directory / "cert.pem").read_text())
    return whole
