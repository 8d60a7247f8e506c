"""What leads from an answer to its trace: headers on every kind of response; and the name of a call of the daemon."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace as Shape
from typing import Any

import flask
import pytest
from dify_otel import infra
from dify_otel_instrumentors.core import span
from dify_otel_instrumentors.core.operation import Operation
from opentelemetry import trace
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

PATHS = {"/plain": 200, "/stream": 200, "/refused": 400, "/nothing": 404, "/broken": 500}


@pytest.fixture
def provider() -> tuple[TracerProvider, InMemorySpanExporter]:
    keep = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(keep))
    return provider, keep


def application() -> flask.Flask:
    app = flask.Flask("dify")

    @app.get("/plain")
    def plain() -> str:
        return "plain"

    @app.get("/stream")
    def stream() -> flask.Response:
        return flask.Response(iter(["data: 1\n\n", "data: 2\n\n"]), mimetype="text/event-stream")

    @app.get("/refused")
    def refused() -> Any:
        return {"code": "invalid_param"}, 400

    @app.get("/broken")
    def broken() -> str:
        raise LookupError

    @app.get("/elsewhere")
    def elsewhere() -> flask.Response:
        return flask.Response(
            "x", headers={"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "X-Env"}
        )

    return app


def asking(provider: Any, mode: str) -> Any:
    app = application()
    rules = infra.Rules()
    rules.response_headers = mode
    infra._flask(app, infra.GatedProvider(provider, rules, "server"), NoOpMeterProvider(), rules)
    return app.test_client()


def leads_to(keep: InMemorySpanExporter) -> str:
    (served,) = keep.get_finished_spans()
    context = served.context
    assert served.kind is trace.SpanKind.SERVER and context is not None
    # The flags as they are: SDKs from 1.43 on say whether a trace's id is random, too.
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


@pytest.mark.parametrize(("path", "status"), PATHS.items())
def test_every_answer_leads_to_its_trace(path: str, status: int, provider: Any) -> None:
    answer = asking(provider[0], "both").get(path)
    assert answer.status_code == status and answer.data
    answer.close()
    expected = leads_to(provider[1])
    assert answer.headers["traceparent"] == expected
    assert answer.headers["Server-Timing"] == f'traceparent;desc="{expected}"'


@pytest.mark.parametrize(
    ("mode", "names"), [("off", set()), ("traceparent", {"traceparent"}), ("server-timing", {"server-timing"})]
)
def test_only_what_is_asked_for_is_sent(mode: str, names: set[str], provider: Any) -> None:
    answer = asking(provider[0], mode).get("/broken")
    sent = {name.lower() for name, _ in answer.headers}
    assert sent & {"traceparent", "server-timing"} == names


def test_a_page_of_another_origin_may_read_it(provider: Any) -> None:
    answer = asking(provider[0], "traceparent").get("/elsewhere")
    assert answer.headers.getlist("Access-Control-Expose-Headers") == ["X-Env", "traceparent"]
    plain = asking(provider[0], "traceparent").get("/plain")
    assert "Access-Control-Expose-Headers" not in plain.headers


def test_with_difys_own_telemetry_answers_lead_to_its_span(provider: Any) -> None:
    app = application()
    FlaskInstrumentor().instrument_app(app, tracer_provider=provider[0])  # type: ignore[no-untyped-call]
    sdk: Any = Shape(adopted=True, role="api", settings=Shape(response_headers="both"))
    infra.start(sdk, app)
    for path in ("/plain", "/stream", "/refused"):
        provider[1].clear()
        answer = app.test_client().get(path)
        assert answer.data
        answer.close()
        assert answer.headers["traceparent"] == leads_to(provider[1])


# --- the plugin daemon

CALL = Operation(concept="chat", name=lambda facts: "chat", before=lambda arguments, enclosing: ())


@pytest.fixture
def asked(provider: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """`asked(url)` makes such a request, as far as its span goes, and gives the span."""
    monkeypatch.setattr(infra, "_DAEMON", "daemon:5002")
    span.configure(provider[0].get_tracer("test"))
    tracer = infra.GatedTracer(provider[0].get_tracer("http"), infra.Rules(), "http")

    def ask(url: str, **headers: str) -> Any:
        call = span.begin(CALL, {})
        token = call.enter()
        made = tracer.start_span("POST", kind=trace.SpanKind.CLIENT, attributes={"http.url": url})
        infra._asks(made, Shape(url=url, method=b"POST", headers={k.replace("_", "-"): v for k, v in headers.items()}))
        made.end()
        call.leave(token)
        call.finish()
        return next(s for s in provider[1].get_finished_spans() if s.kind is trace.SpanKind.CLIENT)

    yield ask
    span.configure(None)


def test_a_call_of_the_plugin_daemon_is_named_by_what_is_asked(asked: Any) -> None:
    told = asked("http://daemon:5002/plugin/tenant-1/dispatch/llm/invoke", X_Plugin_ID="langgenius/openai")
    assert told.name == "POST /plugin/{tenant_id}/dispatch/llm/invoke"
    facts = told.attributes
    assert facts["url.template"] == "/plugin/{tenant_id}/dispatch/llm/invoke"
    assert (facts["dify.plugin.name"], facts["dify.plugin.action"]) == ("langgenius/openai", "llm/invoke")


def test_what_has_ids_in_its_path_is_named_by_its_area(asked: Any) -> None:
    told = asked("http://daemon:5002/plugin/tenant-1/management/install/tasks/task-1")
    assert told.name == "POST /plugin/{tenant_id}/management"


@pytest.mark.parametrize(
    "url", ["http://elsewhere/plugin/t/dispatch/llm/invoke", "http://daemon:5002/health/check", ""]
)
def test_other_calls_keep_their_name(url: str, asked: Any) -> None:
    assert asked(url, X_Plugin_ID="x").name == "POST"
