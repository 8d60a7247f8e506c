"""An OTLP receiver in this process: gRPC and HTTP/protobuf, spans as plain data.

`dify-otel tail`, `make demo` and the tests all need the far end of a real exporter; this is that end.
It believes nothing it is sent: sizes are bounded before anything is unpacked, and metadata and headers
(where licence keys travel) are never kept. Metrics and logs are accepted and dropped, so that an exporter
set up for all three signals stays quiet.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from google.protobuf.message import DecodeError

from dify_otel.tail import otlp
from dify_otel.tail.span import Span

MAX_SPANS_KEPT = 100_000
"""Spans a receiver holds for `spans` and `wait_for`; the oldest go first."""

MAX_REQUEST_BYTES = 32 * 1024 * 1024
"""Largest export request, after unpacking. A batch of 512 spans with prompts in them can pass gRPC's usual 4 MiB."""

_GRPC_THREADS = 4
_STOP_SECONDS = 2.0
_STOP_POLL_SECONDS = 0.05
_SOCKET_SECONDS = 30.0
_PROTOBUF = "application/x-protobuf"
_SERVICES = {
    "traces": "opentelemetry.proto.collector.trace.v1.TraceService",
    "metrics": "opentelemetry.proto.collector.metrics.v1.MetricsService",
    "logs": "opentelemetry.proto.collector.logs.v1.LogsService",
}

Found = TypeVar("Found")


class PortTaken(OSError):
    """A port could not be bound. `port` says which."""

    def __init__(self, host: str, port: int, protocol: str) -> None:
        super().__init__(f"{host}:{port} ({protocol}) is taken or not ours to bind")
        self.port = port
        self.protocol = protocol


class Receiver:
    """`with Receiver() as receiver:` listens on two free loopback ports until the block ends.

    `on_spans` and `on_request` are called in the receiving thread for every accepted request, the second
    with the signal ("traces", "metrics", "logs") and the request's unpacked bytes. What they raise is the
    sender's error 500 / INTERNAL, so they should not.

    Raises `PortTaken` on entering.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        grpc_port: int = 0,
        http_port: int = 0,
        keep: int = MAX_SPANS_KEPT,
        on_spans: Callable[[list[Span]], None] | None = None,
        on_request: Callable[[str, bytes], None] | None = None,
    ) -> None:
        self.host = host
        self.grpc_port = grpc_port
        self.http_port = http_port
        self._on_spans = on_spans
        self._on_request = on_request
        self._changed = threading.Condition()
        self._spans: deque[Span] = deque(maxlen=keep)
        self._received = 0
        self._grpc: Any = None
        self._http: ThreadingHTTPServer | None = None
        self._http_thread: threading.Thread | None = None

    @property
    def grpc_endpoint(self) -> str:
        """For `OTEL_EXPORTER_OTLP_ENDPOINT` with protocol `grpc`."""
        return f"http://{_in_url(self.host)}:{self.grpc_port}"

    @property
    def http_endpoint(self) -> str:
        """For `OTEL_EXPORTER_OTLP_ENDPOINT` with protocol `http/protobuf`."""
        return f"http://{_in_url(self.host)}:{self.http_port}"

    @property
    def spans(self) -> list[Span]:
        """A copy of what has been received, oldest first."""
        with self._changed:
            return list(self._spans)

    @property
    def received(self) -> int:
        """Spans received since the start, also those no longer kept."""
        with self._changed:
            return self._received

    def clear(self) -> None:
        """Forget the spans received so far."""
        with self._changed:
            self._spans.clear()

    def wait_for(self, predicate: Callable[[list[Span]], Found], timeout: float) -> Found:
        """What `predicate` gives for the spans received, as soon as that is true.

        Raises TimeoutError, naming what did arrive, after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while not (found := predicate(list(self._spans))):
                left = deadline - time.monotonic()
                if left <= 0:
                    names = ", ".join(sorted({span.name for span in self._spans})[:20]) or "none"
                    raise TimeoutError(f"not seen in {timeout:g} s; {len(self._spans)} spans received: {names}")
                self._changed.wait(left)
            return found

    def __enter__(self) -> Self:
        try:
            self._start_grpc()
            self._start_http()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening. Requests under way get a moment to end; what was received stays readable."""
        if self._grpc is not None:
            self._grpc.stop(_STOP_SECONDS).wait(_STOP_SECONDS)
            self._grpc = None
        if self._http is not None:
            if self._http_thread is not None:
                self._http.shutdown()
                self._http_thread.join(_STOP_SECONDS)
            self._http.server_close()
            self._http = None

    def accept(self, signal: str, body: bytes) -> None:
        """Take one export request. Raises `DecodeError` when it is none."""
        if signal == "traces":
            found = otlp.spans(body)
            with self._changed:
                self._spans.extend(found)
                self._received += len(found)
                self._changed.notify_all()
            if self._on_spans is not None and found:
                self._on_spans(found)
        if self._on_request is not None:
            self._on_request(signal, body)

    def _start_grpc(self) -> None:
        # Without so_reuseport=0 a second receiver would bind the same port and silently get half the spans.
        server = grpc.server(
            ThreadPoolExecutor(_GRPC_THREADS, thread_name_prefix="dify-otel-tail"),
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", MAX_REQUEST_BYTES)],
        )
        server.add_generic_rpc_handlers(tuple(self._grpc_service(signal, name) for signal, name in _SERVICES.items()))
        try:
            bound = server.add_insecure_port(f"{_in_url(self.host)}:{self.grpc_port}")
        except RuntimeError as error:
            raise PortTaken(self.host, self.grpc_port, "gRPC") from error
        if bound == 0:
            raise PortTaken(self.host, self.grpc_port, "gRPC")
        server.start()
        self._grpc = server
        self.grpc_port = bound

    def _grpc_service(self, signal: str, name: str) -> Any:
        def export(body: bytes, context: Any) -> bytes:
            try:
                self.accept(signal, body)
            except DecodeError:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"not an OTLP export request for {signal}")
            return b""  # The empty message of every Export…Response: all accepted.

        return grpc.method_handlers_generic_handler(name, {"Export": grpc.unary_unary_rpc_method_handler(export)})

    def _start_http(self) -> None:
        try:
            server = _HttpServer((self.host, self.http_port), _HttpRequest)
        except OSError as error:
            raise PortTaken(self.host, self.http_port, "HTTP") from error
        server.receiver = self
        self._http = server
        self.http_port = server.server_address[1]
        self._http_thread = threading.Thread(
            target=server.serve_forever, args=(_STOP_POLL_SECONDS,), name="dify-otel-tail-http", daemon=True
        )
        self._http_thread.start()


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    receiver: Receiver

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A sender that goes away is no news for the person at the terminal."""


class _HttpRequest(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _SOCKET_SECONDS
    server: _HttpServer

    def do_GET(self) -> None:
        self._answer(405, "this is an OTLP receiver: POST to /v1/traces\n")

    def do_POST(self) -> None:
        status, words = self._take(self.path.split("?", 1)[0].removeprefix("/v1/").rstrip("/"))
        if status != HTTPStatus.OK:
            # The body may not have been read: what is left of it must not be taken for the next request.
            self.close_connection = True
        self._answer(status, words)

    def _take(self, signal: str) -> tuple[int, str]:
        if signal not in _SERVICES:
            return 404, "unknown path: POST to /v1/traces, /v1/metrics or /v1/logs\n"
        # Asking for this type also keeps web pages out: a browser would have to ask first, and gets a 501.
        if self.headers.get_content_type() != _PROTOBUF:
            return 415, f"send {_PROTOBUF} (OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf)\n"
        try:
            body = _unpacked(self._body(), self.headers.get("Content-Encoding", "identity").strip().lower())
            self.server.receiver.accept(signal, body)
        except _TooLarge:
            return 413, f"more than {MAX_REQUEST_BYTES} bytes in one request\n"
        except (_Unreadable, DecodeError) as error:
            return 400, f"unreadable request: {error}\n"
        except Exception:
            return 500, "the receiver failed on this request\n"
        return 200, ""

    def log_message(self, format: str, *args: Any) -> None:
        """Request lines are not for the terminal that shows the traces."""

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self._chunks()
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            raise _Unreadable("no Content-Length") from None
        if length > MAX_REQUEST_BYTES:
            raise _TooLarge
        body = self.rfile.read(max(0, length))
        if len(body) < length:
            raise _Unreadable("the body ended early")
        return body

    def _chunks(self) -> bytes:
        body = bytearray()
        while True:
            line = self.rfile.readline(1024)
            try:
                size = int(line.split(b";", 1)[0].strip(), 16)
            except ValueError:
                raise _Unreadable("a broken chunk") from None
            if size < 0:
                raise _Unreadable("a broken chunk")
            if len(body) + size > MAX_REQUEST_BYTES:
                raise _TooLarge
            if size == 0:
                while self.rfile.readline(1024).strip():
                    pass
                return bytes(body)
            body += self.rfile.read(size)
            self.rfile.readline(1024)

    def _answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8" if text else _PROTOBUF)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


class _TooLarge(Exception):
    pass


class _Unreadable(Exception):
    pass


def _unpacked(body: bytes, encoding: str) -> bytes:
    """Bounded while unpacking: a few kilobytes of gzip can hold gigabytes."""
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate"):
        raise _Unreadable(f"Content-Encoding {encoding!r}: gzip, deflate or none")
    unpacking = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        plain = unpacking.decompress(body, MAX_REQUEST_BYTES)
    except zlib.error:
        raise _Unreadable(f"broken {encoding}") from None
    if unpacking.unconsumed_tail:
        raise _TooLarge
    if not unpacking.eof:
        raise _Unreadable(f"{encoding} ended early")
    return plain


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
