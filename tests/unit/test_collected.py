"""The garbage collector may close a dropped stream in the middle of anything: its end waits until that is over."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from time import perf_counter, sleep
from typing import Any

import pytest
from dify_otel_instrumentors.core import collected, metrics, span
from dify_otel_instrumentors.core.operation import Measure, Operation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

OPERATION = Operation(
    concept="thing",
    name=lambda facts: "thing",
    before=lambda arguments, enclosing: (),
    after=lambda call, result: [Measure("dify.tool.duration", call.elapsed(), {})],
)


class Kept:
    def __init__(self) -> None:
        self.spans = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.spans))
        span.configure(provider.get_tracer("test"))
        metrics.configure(MeterProvider([self.reader], shutdown_on_exit=False).get_meter("test"))

    def points(self) -> int:
        data: Any = self.reader.get_metrics_data()
        found = [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics] if data else []
        return sum(p.count for m in found if m.name == "dify.tool.duration" for p in m.data.data_points)


@pytest.fixture
def kept() -> Iterator[Kept]:
    gc.collect()
    gc.disable()
    yield Kept()
    span.configure(None)
    metrics.configure(None)
    gc.enable()


def drop_a_stream() -> None:
    """A stream read in part, held by nothing but a cycle."""

    def source() -> Iterator[int]:
        yield 1
        yield 2

    holder: dict[str, Any] = {}
    holder["self"] = holder
    _, holder["stream"] = span.follow(OPERATION, {}, source())
    next(holder["stream"])


def test_the_collector_ends_nothing_where_a_lock_is_held(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    put, known = metrics._points["dify.tool.duration"]
    lock = threading.Lock()
    inside: list[bool] = []

    def locked(value: float, labels: Any) -> None:
        """As the SDK's aggregations: a lock that is not reentrant, and the collector may run while it is held."""
        taken = lock.acquire(timeout=1)
        inside.append(taken)
        try:
            gc.collect()
            put(value, labels)
        finally:
            if taken:
                lock.release()

    monkeypatch.setitem(metrics._points, "dify.tool.duration", (locked, known))
    drop_a_stream()
    metrics.record("dify.tool.duration", 1.0, {})
    assert inside == [True]
    collected.catch_up()
    assert inside == [True, True]


def test_what_waits_is_done_before_the_next_call_and_ends_when_it_was_over(kept: Kept) -> None:
    drop_a_stream()
    began = perf_counter()
    gc.collect()
    dropped_after = perf_counter() - began
    assert kept.spans.get_finished_spans() == ()
    sleep(0.3)
    span.begin(OPERATION, {}).finish()
    first, _ = kept.spans.get_finished_spans()
    assert first.attributes is not None and first.attributes["dify.stream.outcome"] == "cancelled"
    assert first.start_time is not None and first.end_time is not None
    assert (first.end_time - first.start_time) / 1e9 < dropped_after + 0.25
    assert kept.points() == 2


def test_a_stream_that_is_closed_by_hand_ends_at_once(kept: Kept) -> None:
    def source() -> Iterator[int]:
        yield 1

    _, stream = span.follow(OPERATION, {}, source())
    next(stream)
    stream.close()
    assert len(kept.spans.get_finished_spans()) == 1


def test_another_thread_is_not_the_collectors(kept: Kept) -> None:
    seen: list[bool] = []
    collected._phase("start", {})
    thread = threading.Thread(target=lambda: seen.append(collected.now()))
    thread.start()
    thread.join()
    seen.append(collected.now())
    collected._phase("stop", {})
    assert [*seen, collected.now()] == [False, True, False]


def test_what_waits_is_bounded_and_one_failure_keeps_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    failed: list[str] = []
    monkeypatch.setattr(collected.guard, "failed", failed.append)
    done: list[int] = []

    def end(value: int) -> None:
        if value == 1500:
            raise ValueError
        done.append(value)

    for value in range(2000):
        collected.later(end, value)
    collected.catch_up()
    assert len(done) == collected.WAITING_MAX - 1
    assert failed == ["collected.end"]


def test_nothing_is_watched_once_nothing_is_recorded(kept: Kept) -> None:
    assert collected._phase in gc.callbacks
    span.configure(None)
    assert collected._phase not in gc.callbacks
