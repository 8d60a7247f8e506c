"""The receiver against the SDK's real exporters and against senders that misbehave."""

from __future__ import annotations

import gzip
import http.client
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from dify_otel.tail import receiver as receiving
from dify_otel.tail.receiver import PortTaken, Receiver
from dify_otel.tail.span import Span
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter

from .sample import request, span
from .sending import readable, send


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def as_sent(spans: list[Span]) -> list[Span]:
    """The sample with what the SDK adds on the way: nothing but the scope used by the tests."""
    return [
        Span(**{**{name: getattr(one, name) for name in Span.__slots__}, "scope": one.scope or "tests"})
        for one in spans
    ]


def by_id(spans: list[Span]) -> list[Span]:
    return sorted(spans, key=lambda one: one.span_id)


def post(receiver: Receiver, path: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", receiver.http_port, timeout=10)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/x-protobuf", **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def encoded(spans: list[Span]) -> bytes:
    return encode_spans([readable(one) for one in spans]).SerializeToString()


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip])
def test_grpc_exporter_arrives_whole(receiver: Receiver, compression: grpc.Compression | None) -> None:
    exporter = GrpcExporter(endpoint=receiver.grpc_endpoint, insecure=True, compression=compression)
    send(exporter, request())
    exporter.shutdown()
    assert by_id(receiver.spans) == by_id(as_sent(request()))


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip, Compression.Deflate])
def test_http_exporter_arrives_whole(receiver: Receiver, compression: Compression) -> None:
    exporter: Any = HttpExporter(endpoint=f"{receiver.http_endpoint}/v1/traces", compression=compression)
    send(exporter, request())
    exporter.shutdown()
    assert by_id(receiver.spans) == by_id(as_sent(request()))


def test_a_batch_beyond_grpcs_usual_limit(receiver: Receiver) -> None:
    exporter = GrpcExporter(endpoint=receiver.grpc_endpoint, insecure=True)
    send(exporter, [span(number, 0, "s", 0, 1, {"input.value": "x" * 100_000}) for number in range(1, 61)])
    exporter.shutdown()
    assert len(receiver.spans) == 60


def test_every_kind_of_value(receiver: Receiver) -> None:
    values = {"s": "ü", "b": True, "i": -3, "f": 0.5, "list": ["a", "b"], "numbers": [1, 2]}
    post(receiver, "/v1/traces", encoded([span(1, 0, "s", 0, 1, values)]))
    assert receiver.spans[0].attributes == values


@pytest.mark.parametrize("signal", ["metrics", "logs"])
def test_other_signals_are_taken_quietly(receiver: Receiver, signal: str) -> None:
    assert post(receiver, f"/v1/{signal}", b"")[0] == 200
    assert receiver.spans == []


def test_wait_for_returns_as_soon_as_it_is_true(receiver: Receiver) -> None:
    sender = threading.Thread(target=post, args=(receiver, "/v1/traces", encoded([span(7, 0, "late", 0, 1)])))
    sender.start()
    found = receiver.wait_for(lambda spans: [one for one in spans if one.name == "late"], timeout=10)
    sender.join()
    assert found[0].span_id == f"{7:016x}"


def test_wait_for_says_what_did_arrive(receiver: Receiver) -> None:
    post(receiver, "/v1/traces", encoded([span(7, 0, "another", 0, 1)]))
    with pytest.raises(TimeoutError, match="another"):
        receiver.wait_for(lambda spans: False, timeout=0.05)


def test_many_senders_at_once(receiver: Receiver) -> None:
    def work(sender: int) -> None:
        exporter = GrpcExporter(endpoint=receiver.grpc_endpoint, insecure=True)
        for batch in range(5):
            first = sender * 1_000 + batch * 100 + 1
            send(exporter, [span(first + number, 0, "s", 0, 1) for number in range(100)])
        exporter.shutdown()

    threads = [threading.Thread(target=work, args=(sender,)) for sender in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one.span_id for one in receiver.spans}) == 2_000
    assert receiver.received == 2_000


def test_keeps_no_more_than_asked() -> None:
    with Receiver(keep=10) as small:
        post(small, "/v1/traces", encoded([span(number, 0, "s", 0, 1) for number in range(1, 31)]))
        assert [one.span_id for one in small.spans] == [f"{number:016x}" for number in range(21, 31)]
        assert small.received == 30


def test_hooks_see_spans_and_bytes() -> None:
    seen: list[object] = []
    body = encoded([span(1, 0, "s", 0, 1)])
    with Receiver(on_spans=seen.append, on_request=lambda *given: seen.append(given)) as hooked:
        post(hooked, "/v1/traces", body, {"Content-Encoding": "identity"})
        post(hooked, "/v1/metrics", b"")
    assert [type(one).__name__ for one in seen] == ["list", "tuple", "tuple"]
    assert seen[1:] == [("traces", body), ("metrics", b"")]


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "says"),
    [
        ("/v1/traces", b"\xff\xff\xff", {}, 400, "unreadable"),
        ("/v1/traces", b"not gzip", {"Content-Encoding": "gzip"}, 400, "broken gzip"),
        ("/v1/traces", gzip.compress(b"x" * 1000)[:-20], {"Content-Encoding": "gzip"}, 400, "ended early"),
        ("/v1/traces", b"", {"Content-Encoding": "br"}, 400, "gzip, deflate or none"),
        ("/v1/traces", b"{}", {"Content-Type": "application/json"}, 415, "http/protobuf"),
        ("/v1/traces", b"", {"Content-Type": "text/plain"}, 415, "http/protobuf"),
        ("/somewhere", b"", {}, 404, "/v1/traces"),
    ],
)
def test_bad_requests_are_told_what_is_wrong(
    receiver: Receiver, path: str, body: bytes, headers: dict[str, str], status: int, says: str
) -> None:
    answer = post(receiver, path, body, headers)
    assert answer[0] == status
    assert says in answer[1]
    assert receiver.spans == []


def test_a_gzip_bomb_is_stopped_while_unpacking(receiver: Receiver) -> None:
    bomb = gzip.compress(b"\0" * (receiving.MAX_REQUEST_BYTES + 1), 1)
    assert len(bomb) < 1_000_000
    assert post(receiver, "/v1/traces", bomb, {"Content-Encoding": "gzip"})[0] == 413


def test_an_announced_flood_is_not_read(receiver: Receiver) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", receiver.http_port, timeout=10)
    connection.putrequest("POST", "/v1/traces")
    connection.putheader("Content-Type", "application/x-protobuf")
    connection.putheader("Content-Length", str(10**12))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_a_chunked_body_arrives(receiver: Receiver) -> None:
    body = encoded(request())
    pieces = (body[at : at + 1000] for at in range(0, len(body), 1000))
    connection = http.client.HTTPConnection("127.0.0.1", receiver.http_port, timeout=10)
    connection.request("POST", "/v1/traces", pieces, {"Content-Type": "application/x-protobuf"}, encode_chunked=True)
    assert connection.getresponse().status == 200
    connection.close()
    assert len(receiver.spans) == len(request())


def test_a_broken_grpc_request_is_an_argument_error(receiver: Receiver) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{receiver.grpc_port}") as channel:
        plain: Any = channel
        call = plain.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        with pytest.raises(grpc.RpcError) as failed:
            call(b"\xff\xff\xff", timeout=10)
    assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_web_page_may_not_send(receiver: Receiver) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", receiver.http_port, timeout=10)
    asking = {"Origin": "https://example.org", "Access-Control-Request-Headers": "content-type"}
    connection.request("OPTIONS", "/v1/traces", headers=asking)
    answer = connection.getresponse()
    assert answer.status == 501
    assert answer.getheader("Access-Control-Allow-Origin") is None
    connection.close()


def test_a_taken_port_is_said(receiver: Receiver) -> None:
    with pytest.raises(PortTaken) as taken, Receiver(grpc_port=receiver.grpc_port):
        pass
    assert (taken.value.port, taken.value.protocol) == (receiver.grpc_port, "gRPC")
    with pytest.raises(PortTaken) as taken, Receiver(http_port=receiver.http_port):
        pass
    assert (taken.value.port, taken.value.protocol) == (receiver.http_port, "HTTP")


def test_ports_are_free_again_and_spans_stay_readable() -> None:
    with Receiver() as first:
        post(first, "/v1/traces", encoded([span(1, 0, "s", 0, 1)]))
    with Receiver(grpc_port=first.grpc_port, http_port=first.http_port) as second:
        assert (second.grpc_port, second.http_port) == (first.grpc_port, first.http_port)
    assert len(first.spans) == 1


def test_headers_are_kept_nowhere(receiver: Receiver) -> None:
    secret = "licence-key-4711"
    exporter = GrpcExporter(endpoint=receiver.grpc_endpoint, insecure=True, headers={"authentication": secret})
    send(exporter, [span(1, 0, "s", 0, 1)])
    exporter.shutdown()
    post(receiver, "/v1/traces", encoded([span(2, 0, "s", 0, 1)]), {"Authorization": f"Bearer {secret}"})
    assert len(receiver.spans) == 2
    assert secret not in repr(receiver.spans)
    assert secret not in repr(vars(receiver))
