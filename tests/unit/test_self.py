"""What is said about tracing itself: the queue, what was cut, what it took; and whose a point is, when asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from dify_otel import sdk as subject
from dify_otel_instrumentors.core import content, metrics, span
from dify_otel_instrumentors.core.operation import Content, Error, Measure, Operation
from dify_otel_instrumentors.core.wrapper import instrument
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


def operation(*facts: Any, after: Any = (), **more: Any) -> Operation:
    return Operation(
        concept=more.pop("concept", "node"),
        name=lambda _: "node",
        before=lambda *_: facts,
        after=lambda *_: after,
        **more,
    )


def reasons(recorded: Any) -> dict[str, int]:
    return {p.attributes["reason"]: p.value for p in recorded.points("dify.otel.spans.truncated")}


# --- the queue


@pytest.fixture
def queue() -> Iterator[tuple[Any, Any]]:
    spans = subject._Spans(InMemorySpanExporter())
    # Nothing is sent before it is asked for.
    processor = BatchSpanProcessor(spans, schedule_delay_millis=3_600_000, max_export_batch_size=100)
    made = subject._Queue(processor, spans, 5)
    limits = SpanLimits(max_span_attributes=3, max_span_attribute_length=5)
    provider = TracerProvider(resource=Resource.get_empty(), span_limits=limits, shutdown_on_exit=False)
    provider.add_span_processor(made)
    yield made, provider
    provider.shutdown()


def test_the_queue_is_as_long_as_what_waits(recorded: Any, queue: tuple[Any, Any]) -> None:
    made, provider = queue
    metrics.observe("dify.otel.queue.size", made.size)
    try:
        for _ in range(3):
            provider.get_tracer("t").start_span("s").end()
        assert [p.value for p in recorded.points("dify.otel.queue.size")] == [3]
        provider.force_flush()
        assert [p.value for p in recorded.points("dify.otel.queue.size")] == [0]
        made._pid += 1  # as in a forked copy
        assert recorded.points("dify.otel.queue.size") == []
    finally:
        metrics.observe("dify.otel.queue.size", None)
    assert recorded.points("dify.otel.queue.size") == []


# --- what was cut


def test_the_limits_of_the_sdk_are_counted(recorded: Any, queue: tuple[Any, Any]) -> None:
    tracer = queue[1].get_tracer("t")
    tracer.start_span("whole", attributes={"a": "1234", "b": 2, "c": 3}).end()
    assert reasons(recorded) == {}
    tracer.start_span("many", attributes=dict.fromkeys("abcdef", 1)).end()
    tracer.start_span("long", attributes={"a": "123456", "b": "1234567"}).end()
    assert reasons(recorded) == {"attributes": 1, "length": 1}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("x" * (span.TEXT_MAX + 1), "text"),
        (["x"] * (span.ITEMS_MAX + 1), "list"),
        (["x" * (span.TEXT_MAX + 1)], "text"),
        (Content("x" * 101), "content"),
        (Content({"a": ["x" * 50, "y" * 50]}), "content"),
        (Content(list(range(1000))), "content"),
        (Content({str(n): n for n in range(1000)}), "content"),
    ],
)
def test_a_span_is_counted_once_for_what_was_cut(record: Any, value: Any, reason: str) -> None:
    recorded = record(content_on_spans=True, content_limit=100)
    call = instrument(lambda: None, operation(("dify.a", value), after=(("dify.b", value), ("dify.c", value))))
    call()
    assert reasons(recorded) == {reason: 1}
    call()
    assert reasons(recorded) == {reason: 2}


@pytest.mark.parametrize(
    "value",
    [
        "x" * span.TEXT_MAX,
        ["x" * span.TEXT_MAX] * span.ITEMS_MAX,
        Content("x" * 100),
        Content({"a": ["x" * 20, 1, None, {"b": True}]}),
    ],
)
def test_what_fits_is_not_counted(record: Any, value: Any) -> None:
    recorded = record(content_on_spans=True, content_limit=100)
    instrument(lambda: None, operation(("dify.a", value)))()
    assert reasons(recorded) == {}


def test_content_that_stays_here_is_not_cut(recorded: Any) -> None:
    instrument(lambda: None, operation(("dify.a", Content("x" * 100_000))))()
    assert reasons(recorded) == {}


def test_a_long_error_text_is_counted(record: Any) -> None:
    recorded = record(error_text=True)
    instrument(lambda: None, operation(after=(Error("Wrong", "x" * 5000),)))()
    assert reasons(recorded) == {"text": 1}


def test_what_was_cut_can_be_seen_in_what_is_left() -> None:
    for value in ("x" * 500, {"a": "x" * 500}, {"a": {"b": ["\\" * 99]}}):
        text, short = content.encoded(value, 100)
        assert short and content.CUT in text and text == content.encode(value, 100)


# --- what it took


def overhead(recorded: Any) -> tuple[int, float]:
    points = recorded.points("dify.otel.overhead")
    return (points[0].count, points[0].sum) if points else (0, 0.0)


def test_overhead_is_recorded_once_for_the_outermost_call(recorded: Any) -> None:
    def slowly(*_: Any) -> Any:
        time.sleep(0.01)
        return ()

    inner = instrument(lambda: time.sleep(0.2), Operation("tool", lambda _: "t", slowly, slowly))
    outer = instrument(lambda: [inner() for _ in range(3)], Operation("node", lambda _: "n", slowly, slowly))
    outer()
    count, seconds = overhead(recorded)
    assert count == 1
    # Eight times ours, and none of the 0.6 s of the function itself.
    assert 0.08 <= seconds < 0.6
    outer()
    assert overhead(recorded)[0] == 2


def test_overhead_is_recorded_when_a_call_fails_and_when_a_stream_is_dropped(recorded: Any) -> None:
    def broken() -> None:
        raise ValueError

    def stream() -> Iterator[int]:
        yield 1

    with pytest.raises(ValueError):
        instrument(broken, operation())()
    assert overhead(recorded)[0] == 1
    left = instrument(stream, operation())()
    assert overhead(recorded)[0] == 1
    left.close()
    assert overhead(recorded)[0] == 2


# --- whose a point is


def by(*owners: str) -> Any:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], Resource.get_empty(), shutdown_on_exit=False)
    metrics.configure(provider.get_meter("owners"), owners)

    def labels(name: str) -> list[dict[str, Any]]:
        found = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
        return [dict(p.attributes) for m in found if m.name == name for p in m.data.data_points]

    return labels


def run(app: str, tenant: str = "tenant-1", name: str | None = None) -> None:
    leaf = operation(
        after=(
            Measure("dify.tokens", 1, {"kind": "llm"}),
            Measure("mcp.client.operation.duration", 1, {}),
            Measure("dify.workflow.active_runs", 1, {}),
        ),
        concept="chat",
    )
    facts = (("dify.app_id", app), ("dify.tenant_id", tenant), ("dify.app.name", name))
    instrument(instrument(lambda: None, leaf), operation(*facts, concept="app"))()


def test_no_point_says_whose_it_is_unless_asked(recorded: Any) -> None:
    run("app-1", name="Answers")
    assert [dict(p.attributes) for p in recorded.points("dify.tokens")] == [{"kind": "llm"}]


def test_points_below_a_call_say_whose_they_are_when_asked(recorded: Any) -> None:
    labels = by("app_id", "app_name", "tenant_id")
    run("app-1", name="Answers")
    whose = {"dify.app_id": "app-1", "dify.app.name": "Answers", "dify.tenant_id": "tenant-1"}
    assert labels("dify.tokens") == [{"kind": "llm", **whose}]
    # Neither what is not ours to name, nor what goes down again when more may be known.
    assert labels("mcp.client.operation.duration") == labels("dify.workflow.active_runs") == [{}]
    run("app-1")  # the process knows the name by now
    assert labels("dify.tokens") == [{"kind": "llm", **whose}]
    metrics.record("dify.tokens", 1, {"kind": "no call"})
    assert {"kind": "no call"} in labels("dify.tokens")


def test_only_what_was_asked_for(recorded: Any) -> None:
    labels = by("tenant_id")
    run("app-1", name="Answers")
    assert labels("dify.tokens") == [{"kind": "llm", "dify.tenant_id": "tenant-1"}]


def test_owners_are_bounded(recorded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "OWNERS_MAX", 3)
    labels = by("app_id", "app_name")
    for n in range(9):
        run(f"app-{n}", name=f"App {n}")
    run("app-1", name="App 1")
    found = {(p["dify.app_id"], p["dify.app.name"]) for p in labels("dify.tokens")}
    assert found == {("app-0", "App 0"), ("app-1", "App 1"), ("app-2", "App 2"), ("other", "other")}
    assert len(metrics._names) == 3


def test_below_a_sampled_out_parent_the_owner_is_known_too(record: Any) -> None:
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

    record(sampler=ParentBased(ALWAYS_OFF))
    labels = by("app_id")
    run("app-1")
    assert labels("dify.tokens") == [{"kind": "llm", "dify.app_id": "app-1"}]
