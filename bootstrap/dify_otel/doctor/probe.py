"""One real OTLP request to the backend, and what its failure means in words that say what to do.

Name, connection and TLS are tried one by one with the standard library first, because gRPC reports all three as
"unavailable". Runs as a script under Dify's interpreter, which has grpcio and the certificates the exporter will use:
standard library and, where present, grpcio; no import of ours.
"""

from __future__ import annotations

import http.client
import importlib
import json
import os
import socket
import ssl
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import SplitResult, urlsplit

SERVICE = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
EMPTY = b""
"""An `ExportTraceServiceRequest` without spans, as protobuf writes it."""

REACHED, PARTLY, FAILED = "reached", "partly", "failed"


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send to: `url` with a scheme for HTTP, `host:port` or URL for gRPC; header values may be secret."""

    protocol: str
    url: str
    secure: bool
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    certificate: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    timeout: float = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of it. `reason` is one word for machines, `text` what happened, `advice` what to do about it."""

    state: str
    reason: str
    text: str
    advice: str = ""
    seconds: float = 0.0


def send(target: Target) -> Answer:
    """Try the target. Never raises; takes about three times `timeout` at most."""
    began = time.monotonic()
    try:
        answer = _connect(target) or (_http(target) if target.protocol != "grpc" else _grpc(target))
    except Exception as error:
        answer = Answer(FAILED, "unexpected", f"{type(error).__name__}: {error}")
    return Answer(answer.state, answer.reason, answer.text, answer.advice, round(time.monotonic() - began, 3))


def _split(target: Target) -> SplitResult:
    return urlsplit(target.url if "://" in target.url else f"//{target.url}")


def _place(target: Target) -> tuple[str, int]:
    parts = _split(target)
    port = parts.port
    if port is None:
        port = 443 if target.secure else 80
    return parts.hostname or "localhost", port


def _context(target: Target) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=target.certificate or None)
    if target.client_certificate:
        context.load_cert_chain(target.client_certificate, target.client_key or None)
    if target.protocol == "grpc":
        context.set_alpn_protocols(["h2"])
    return context


def _connect(target: Target) -> Answer | None:
    """Name, connection, TLS; None when all three stand."""
    host, port = _place(target)
    try:
        socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return Answer(
            FAILED,
            "dns",
            f"the name {host} is not known here",
            "Check its spelling. In Docker the collector must share a network with Dify and its service name is its "
            "host name; `localhost` inside a container is that container.",
        )
    try:
        connection = socket.create_connection((host, port), target.timeout)
    except TimeoutError:
        return Answer(
            FAILED,
            "timeout",
            f"{host}:{port} does not answer within {target.timeout:g} s",
            "A firewall, security group or network policy drops it, or the address is not reachable from this network "
            "(cloud backends have separate internal and public endpoints).",
        )
    except ConnectionRefusedError:
        return Answer(
            FAILED,
            "refused",
            f"nothing listens on {host}:{port}",
            "Is the collector running, and is this its OTLP port? Usually 4317 for grpc, 4318 for http/protobuf. "
            "Inside a container `localhost` is that container.",
        )
    except OSError as error:
        return Answer(FAILED, "network", f"{host}:{port}: {error.strerror or error}", "Check routes and firewalls.")
    with connection:
        return _handshake(target, connection, host, port) if target.secure else None


def _handshake(target: Target, connection: socket.socket, host: str, port: int) -> Answer | None:
    try:
        context = _context(target)
    except (OSError, ssl.SSLError) as error:
        return Answer(
            FAILED,
            "tls",
            f"the certificate files cannot be read: {error}",
            "Check OTEL_EXPORTER_OTLP_CERTIFICATE, _CLIENT_CERTIFICATE and _CLIENT_KEY; they are paths inside this "
            "container.",
        )
    try:
        with context.wrap_socket(connection, server_hostname=host):
            return None
    except ssl.SSLCertVerificationError as error:
        return Answer(
            FAILED,
            "tls",
            f"the certificate of {host}:{port} is not trusted: {error.verify_message}",
            "If it is signed by your own authority, name that one's file in OTEL_EXPORTER_OTLP_CERTIFICATE. If the "
            "name does not match, use the host name the certificate was made for.",
        )
    except TimeoutError:
        return Answer(
            FAILED,
            "tls",
            f"{host}:{port} accepts the connection but does not answer TLS",
            "Probably it speaks plain text: write http:// in the endpoint (and OTEL_EXPORTER_OTLP_INSECURE=true "
            "without a scheme).",
        )
    except (ssl.SSLError, OSError) as error:
        reason = getattr(error, "reason", None) or str(error)
        return Answer(
            FAILED,
            "tls",
            f"{host}:{port} does not speak TLS ({reason})",
            "If it speaks plain text, write http:// in the endpoint (and OTEL_EXPORTER_OTLP_INSECURE=true without a "
            "scheme). Otherwise check port and client certificates.",
        )


def _http(target: Target) -> Answer:
    parts = _split(target)
    host, port = _place(target)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if target.secure:
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, port, timeout=target.timeout, context=_context(target)
        )
    else:
        connection = http.client.HTTPConnection(host, port, timeout=target.timeout)
    try:
        headers = {**target.headers, "Content-Type": "application/x-protobuf", "User-Agent": "dify-otel-doctor"}
        connection.request("POST", path, body=EMPTY, headers=headers)
        response = connection.getresponse()
        status, body = response.status, response.read(512)
    except TimeoutError:
        return _slow(host, port, target)
    except (http.client.HTTPException, OSError) as error:
        return Answer(
            FAILED,
            "protocol",
            f"{host}:{port} does not speak HTTP/1.1 ({type(error).__name__})",
            "Port 4317 is usually gRPC: set OTEL_EXPORTER_OTLP_PROTOCOL=grpc or use the HTTP port, usually 4318. "
            "If it expects TLS, write https:// in the endpoint.",
        )
    finally:
        connection.close()
    return _status(status, body.decode("utf-8", "replace").strip(), path.partition("?")[0])


def _slow(host: str, port: int, target: Target) -> Answer:
    return Answer(
        FAILED,
        "timeout",
        f"{host}:{port} takes the request but does not answer it within {target.timeout:g} s",
        "The backend is overloaded or hangs. Dify goes on undisturbed; spans that do not fit the queue are dropped.",
    )


def _status(status: int, body: str, path: str) -> Answer:
    said = f"HTTP {status}"
    if status < 300:
        return Answer(REACHED, "ok", f"the request was accepted ({said})")
    if status in (401, 403):
        return _refused_key(said)
    if status in (404, 405):
        return Answer(
            FAILED,
            "path",
            f"{said} for {path}: no OTLP receiver on this path",
            "OTEL_EXPORTER_OTLP_ENDPOINT is the base: /v1/traces is added to it. OTEL_EXPORTER_OTLP_TRACES_ENDPOINT "
            "is taken as it stands.",
        )
    if status == 400 and ("empty" in body.lower() or not body):
        return Answer(PARTLY, "empty", f"{said}: reached, but it refuses a request without spans")
    if status == 415:
        return Answer(FAILED, "protocol", f"{said}: it does not take protobuf", "Is this an OTLP/HTTP receiver?")
    if status == 429:
        return Answer(PARTLY, "limited", f"{said}: reached, but it limits the rate", "Sample, or ask for more.")
    if status >= 500:
        return Answer(FAILED, "backend", f"{said}: the backend itself fails", "Look at the backend's own log.")
    return Answer(
        FAILED, "refused-request", f"{said}: the request was refused", "Check the endpoint's path and headers."
    )


def _refused_key(said: str) -> Answer:
    return Answer(
        FAILED,
        "auth",
        f"the backend refuses the credentials ({said})",
        "Check OTEL_EXPORTER_OTLP_HEADERS (name=value, comma-separated, values URL-encoded) or the license key, and "
        "that the key belongs to this region's endpoint. `dify-otel env` prints what a backend needs.",
    )


def _grpc(target: Target) -> Answer:
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    host, port = _place(target)
    try:
        grpc: Any = importlib.import_module("grpc")
    except ImportError:
        return Answer(
            PARTLY,
            "no-grpc",
            f"{host}:{port} accepts connections{' over TLS' if target.secure else ''}; whether it takes OTLP was not "
            "tried: grpcio cannot be imported here",
            "Run the doctor with Dify's own Python (--python).",
        )
    place = f"{host}:{port}"
    if target.secure:
        credentials = grpc.ssl_channel_credentials(
            _bytes(target.certificate), _bytes(target.client_key), _bytes(target.client_certificate)
        )
        channel = grpc.secure_channel(place, credentials)
    else:
        channel = grpc.insecure_channel(place)
    call = channel.unary_unary(SERVICE, request_serializer=bytes, response_deserializer=bytes)
    metadata = tuple((name.lower(), value) for name, value in target.headers.items())
    try:
        call(EMPTY, timeout=target.timeout, metadata=metadata)
    except grpc.RpcError as error:
        return _grpc_status(error.code().name, error.details() or "", target, host, port)
    finally:
        channel.close()
    return Answer(REACHED, "ok", "the request was accepted (gRPC OK)")


def _grpc_status(code: str, details: str, target: Target, host: str, port: int) -> Answer:
    said = f"gRPC {code}"
    low = details.lower()
    if code in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        return _refused_key(said)
    if code == "DEADLINE_EXCEEDED":
        return _slow(host, port, target)
    if code == "RESOURCE_EXHAUSTED":
        return Answer(PARTLY, "limited", f"{said}: reached, but it limits the rate", "Sample, or ask for more.")
    if code in ("UNIMPLEMENTED", "NOT_FOUND"):
        return Answer(
            FAILED, "path", f"{said}: {host}:{port} speaks gRPC but is no OTLP trace receiver", "Check host and port."
        )
    if code == "INVALID_ARGUMENT":
        return Answer(PARTLY, "empty", f"{said}: reached, but it refuses a request without spans")
    if "http1" in low or "http/1" in low or "trying to connect an http1" in low or "404" in low or "405" in low:
        return Answer(
            FAILED,
            "protocol",
            f"{host}:{port} speaks HTTP/1, not gRPC",
            "Port 4318 is usually HTTP: set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf or use the gRPC port, usually "
            "4317. A proxy in between must pass HTTP/2 through.",
        )
    if code == "UNAVAILABLE":
        tls = "" if target.secure else " If it expects TLS, write https:// in the endpoint."
        return Answer(
            FAILED,
            "protocol",
            f"{host}:{port} accepts connections but closes them ({said})",
            f"Is it a gRPC port? HTTP receivers (usually 4318) need OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf.{tls}",
        )
    return Answer(FAILED, "backend", f"{said}: the backend itself fails", "Look at the backend's own log.")


def _bytes(path: str | None) -> bytes | None:
    if not path:
        return None
    with open(path, "rb") as file:
        return file.read()


def main() -> int:
    """As a script: a `Target` as JSON on standard input, an `Answer` as JSON on standard output."""
    json.dump(asdict(send(Target(**json.load(sys.stdin)))), sys.stdout)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
