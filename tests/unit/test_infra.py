"""Statements: spans when slow or failed, counts always, and no more spans of them than their bound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from dify_otel import infra
from dify_otel_instrumentors.core import span
from dify_otel_instrumentors.core.operation import Operation
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.instrumentation import celery as celery_instrumentation
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

OUTER = Operation(concept="app", name=lambda facts: "outer", before=lambda arguments, enclosing: ())
INNER = Operation(concept="node", name=lambda facts: "inner", before=lambda arguments, enclosing: ())


@pytest.fixture
def provider() -> Iterator[tuple[TracerProvider, InMemorySpanExporter]]:
    keep = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(keep))
    span.configure(provider.get_tracer("test"))
    yield provider, keep
    span.configure(None)


def statements(provider: TracerProvider, slow_ms: float, count: int, fails: bool = False) -> None:
    """`count` statements in each of two nodes of an app."""
    tracer = infra.GatedTracer(provider.get_tracer("sql"), infra.Rules(slow_ms=slow_ms), "sql")
    outer = span.begin(OUTER, {})
    token = outer.enter()
    for _ in range(2):
        inner = span.begin(INNER, {})
        inside = inner.enter()
        for _ in range(count):
            made: Any = tracer.start_span("SELECT dify", kind=trace.SpanKind.CLIENT)
            if fails:
                made.record_exception(ValueError("no"))
            made.end()
        inner.leave(inside)
        inner.finish()
    outer.leave(token)
    outer.finish()
    assert otel_context.get_current() == otel_context.Context()


def names(keep: InMemorySpanExporter) -> list[str]:
    return [s.name for s in keep.get_finished_spans()]


def test_quick_statements_are_counted_and_are_no_spans(provider: tuple[TracerProvider, InMemorySpanExporter]) -> None:
    statements(provider[0], 60_000, 5)
    assert names(provider[1]) == ["inner", "inner", "outer"]
    facts = provider[1].get_finished_spans()[-1].attributes or {}
    assert facts["dify.io.sql.count"] == 10
    assert "dify.io.sql.slow" not in facts


def test_slow_statements_are_spans_up_to_the_bound_of_a_request(
    provider: tuple[TracerProvider, InMemorySpanExporter],
) -> None:
    statements(provider[0], 0, infra.SLOW_MAX)
    assert names(provider[1]).count("SELECT dify") == infra.SLOW_MAX
    facts = provider[1].get_finished_spans()[-1].attributes or {}
    assert facts["dify.io.sql.slow"] == facts["dify.io.sql.count"] == 2 * infra.SLOW_MAX


def test_failed_statements_are_spans_whatever_their_number(
    provider: tuple[TracerProvider, InMemorySpanExporter],
) -> None:
    statements(provider[0], 0, infra.SLOW_MAX, fails=True)
    assert names(provider[1]).count("SELECT dify") == 2 * infra.SLOW_MAX


def test_all_means_all(provider: tuple[TracerProvider, InMemorySpanExporter]) -> None:
    tracer = infra.GatedTracer(provider[0].get_tracer("sql"), infra.Rules(infra_spans="all"), "sql")
    outer = span.begin(OUTER, {})
    token = outer.enter()
    for _ in range(infra.SLOW_MAX + 3):
        tracer.start_span("SELECT dify").end()
    outer.leave(token)
    outer.finish()
    assert names(provider[1]).count("SELECT dify") == infra.SLOW_MAX + 3


def test_a_task_that_brings_no_context_leaves_no_error_in_the_log(
    provider: tuple[TracerProvider, InMemorySpanExporter], caplog: pytest.LogCaptureFixture
) -> None:
    made, keep = provider
    app = Celery("test", broker="memory://")

    @app.task
    def due() -> int:
        return 7

    infra._celery(infra.GatedProvider(made, infra.Rules(), "celery"), NoOpMeterProvider())
    try:
        assert due.apply().get() == 7
        # Newer instrumentations do not ask for this any more.
        celery_instrumentation.context_api.detach(None)
    finally:
        CeleryInstrumentor().uninstrument()
    assert [r.getMessage() for r in caplog.records if r.name.startswith("opentelemetry")] == []
    assert keep.get_finished_spans() == ()
