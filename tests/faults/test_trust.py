"""Whose trace context is believed, who learns ours, and that no header a caller sends can break or flood anything."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tests.faults import backend as backends
from tests.faults.test_ends import python

HEADERS = ("traceparent", "tracestate", "baggage")

SERVING = """
from dify_otel import sdk, settings
from flask import Flask, request
import httpx, json, logging, random, requests
app = Flask("app")

@app.get("/fetch")
@app.get("/inner/api/fetch")
def fetch():
    def go():
        for url in os.environ["FETCH"].split():
            (httpx if "httpx" in url else requests).get(url)
        return "fetched"
    return (instrument(go, thing) if request.args.get("call") else go)()

started = sdk.start(settings.current(), "api", app)
client = app.test_client()
TRACE = "0af7651916cd43dd8448eb211c80319c"
"""


FOLLOW = """(
                httpx.get(url, follow_redirects=True, headers={"tracestate": "of=dify"})
                if "httpx" in url else requests.get(url, headers={"tracestate": "of=dify"})
            )"""


@contextmanager
def service(onward: str = "") -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A service that notes the trace headers it is given, and may send its callers on to another."""
    seen: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append({name: self.headers[name] for name in HEADERS if self.headers[name]})
            self.send_response(302 if onward else 200)
            if onward:
                self.send_header("Location", f"{onward}/onward")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", seen
        finally:
            server.shutdown()


ASK = """
for flags in ("01", "00"):
    for path in ("/fetch", "/fetch?call=1"):
        answer = client.get(path, headers={"traceparent": f"00-{TRACE}-b7ad6b7169203331-{flags}",
                                           "baggage": "tenant=canary-baggage"})
        assert answer.data == b"fetched", answer.data
started.flush()
"""


@pytest.mark.parametrize("sampler", ["", "always_off"])
def test_only_the_cluster_learns_our_ids(sampler: str) -> None:
    """Recorded or not, inside a call of ours or not, by httpx or requests: strangers get no header at all."""
    with backends.Backend("grpc") as backend, service() as (daemon, told), service() as (stranger, overheard):
        urls = " ".join(f"{base}/{client}" for base in (daemon, stranger) for client in ("httpx", "requests"))
        common = {"FETCH": urls, "PLUGIN_DAEMON_URL": daemon, "OTEL_EXPORTER_OTLP_ENDPOINT": backend.endpoint}
        common["OTEL_TRACES_SAMPLER"] = sampler
        done = python(SERVING.replace("\n", "\n        ") + ASK.replace("\n", "\n        "), **common)
        assert done.returncode == 0, done.stderr
        assert overheard == [{}] * 8
        assert len(told) == 8
        if not sampler:
            assert all("0af7651916cd43dd8448eb211c80319c" in headers["traceparent"] for headers in told[:4])
        overheard.clear()
        host = stranger.removeprefix("http://")
        python(
            SERVING.replace("\n", "\n        ") + ASK.replace("\n", "\n        "),
            **common,
            DIFY_OTEL_PROPAGATE_TO=f"cluster,{host}",
        )
        assert len([headers for headers in overheard if headers]) >= (4 if not sampler else 0)


@pytest.mark.parametrize("client", ["httpx", "requests"])
def test_a_redirect_does_not_take_our_ids_to_a_stranger(client: str) -> None:
    """Clients copy a request's headers to wherever it is sent on: also those that were for the first host alone."""
    with backends.Backend("grpc") as backend, service() as (stranger, overheard), service(stranger) as (daemon, told):
        follow = SERVING.replace('(httpx if "httpx" in url else requests).get(url)', FOLLOW)
        done = python(
            (follow + ASK).replace("\n", "\n        "),
            FETCH=f"{daemon}/{client}",
            PLUGIN_DAEMON_URL=daemon,
            OTEL_EXPORTER_OTLP_ENDPOINT=backend.endpoint,
        )
        assert done.returncode == 0, done.stderr
    assert len(told) == 4 and all("traceparent" in headers for headers in told)
    # A header of Dify's own making goes where Dify's client takes it.
    assert overheard == [{"tracestate": "of=dify"}] * 4


def test_a_caller_that_is_not_trusted_gets_neither_trace_nor_baggage_in() -> None:
    with backends.Backend("grpc") as backend, service() as (daemon, told):
        done = python(
            (
                SERVING
                + ASK
                + """
client.get("/inner/api/fetch", headers={"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "baggage": "a=b"})
started.flush()
"""
            ).replace("\n", "\n        "),
            FETCH=f"{daemon}/httpx",
            PLUGIN_DAEMON_URL=daemon,
            DIFY_OTEL_TRUST_INCOMING="false",
            OTEL_EXPORTER_OTLP_ENDPOINT=backend.endpoint,
        )
        assert done.returncode == 0, done.stderr
    servers = [span for span in backend.spans if span.kind == "SERVER"]
    assert len(servers) == 5  # also those whose caller asked not to be recorded
    ours, inner = servers[:4], servers[4]
    assert all(span.trace_id != "0af7651916cd43dd8448eb211c80319c" and not span.parent_id for span in ours)
    assert all([link.trace_id for link in span.links] == ["0af7651916cd43dd8448eb211c80319c"] for span in ours)
    assert all("canary" not in json.dumps(headers) for headers in told)
    # The plugin daemon calls back on the inner API with a key of its own.
    assert inner.trace_id == "0af7651916cd43dd8448eb211c80319c"


FUZZ = """
names = ["traceparent", "tracestate", "baggage", "Traceparent", "x-b3-traceid", "uber-trace-id"]
spice = ["00-", "-01", "0" * 32, "f" * 55, ",", ";", "=", "%", "%ff", "a=b", "\\t", " ", "\\x7f", "é", "ÿ", "\\x01"]
random.seed(4)
for round in range(400):
    headers = [(random.choice(names), "".join(random.choices(spice, k=random.randint(0, 40))) if round % 4
                else "v=" + "A" * random.choice([5000, 9000, 70000])) for _ in range(random.randint(1, 4))]
    environ = {"HTTP_" + n.upper().replace("-", "_"): v for n, v in headers}
    environ["HTTP_X_ANYTHING"] = "x" * 60000
    answer = client.get("/fetch", environ_overrides=environ)
    assert answer.status_code == 200 and answer.data == b"fetched"
    assert "telemetry" not in answer.text
from dify_otel_instrumentors.core import guard
print(guard.counts())
"""


def test_whatever_callers_send_as_trace_headers_the_answer_is_the_same_and_the_log_quiet() -> None:
    with backends.Backend("grpc") as backend:
        done = python(
            (SERVING + FUZZ).replace("\n", "\n        "), FETCH="", OTEL_EXPORTER_OTLP_ENDPOINT=backend.endpoint
        )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "{}"
    assert len(done.stderr.splitlines()) <= 4, done.stderr[:3000]
    assert "AAAA" not in done.stderr


class _Everything(dict[str, str]):
    """A carrier that has the same to say for every header."""

    def __init__(self, value: str) -> None:
        super().__init__(dict.fromkeys(HEADERS, value))


@examples(max_examples=300, deadline=None)
@given(
    st.text(max_size=300)
    | st.binary(max_size=300).map(lambda b: b.decode("latin-1"))
    | st.from_regex(r"[0-9a-g]{2}-[0-9a-g]{32}-[0-9a-g]{16}-[0-9a-g]{1,3}", fullmatch=True)
)
def test_any_bytes_as_trace_context(value: str) -> None:
    from dify_otel_instrumentors.core import span
    from opentelemetry.propagate import extract, inject

    context = extract(_Everything(value))
    inject({}, context=context)
    assert span._links([value, value.encode(), None, value.split("-")]) is None or value.count("-") == 3


@examples(max_examples=300, deadline=None)
@given(st.text(max_size=200), st.text(max_size=60))
def test_any_text_as_url_or_host_is_an_answer(url: str, host: str) -> None:
    from dify_otel.propagation import Trusted

    trusted: Any = Trusted({"PLUGIN_DAEMON_URL": "http://plugin_daemon:5002", "CODE_EXECUTION_ENDPOINT": url}, (host,))
    assert "http://plugin_daemon:5002/x" in trusted
    assert isinstance(url in trusted, bool)
    # What only looks like a host of the cluster is none.
    if host not in ("all", "evil", "plugin_daemon.evil", "evil:80", "plugin_daemon.evil:5002"):
        plain: Any = Trusted({"PLUGIN_DAEMON_URL": "http://plugin_daemon:5002"}, (host,))
        for lure in (
            "http://plugin_daemon:5002@evil/",
            "http://evil/plugin_daemon:5002",
            "http://plugin_daemon.evil:5002/",
            "http://plugin_daemon:5003/",
        ):
            assert lure not in plain or host in ("plugin_daemon", "plugin_daemon:5003")
