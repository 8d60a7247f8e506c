"""What every suite shares: the source roots on the path, a loud guard, and spans and metrics kept in memory.

Loud, because a swallowed exception in a test is a bug that hides; the suites that prove the silence switch it off.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
for _root in (ROOT / "bootstrap", ROOT / "instrumentors"):
    if str(_root) not in sys.path:
        sys.path.insert(0, str(_root))


@pytest.fixture(autouse=True)
def loud_guard() -> Iterator[None]:
    """No exception of ours is swallowed in a test's own process."""
    from dify_otel_instrumentors.core import guard

    guard.loud(True)
    try:
        yield
    finally:
        guard.loud(False)


@pytest.fixture(autouse=True)
def nothing_stays_attached() -> Iterator[None]:
    """The context a test leaves behind is the one it found."""
    from opentelemetry import context

    before = context.get_current()
    yield
    after = context.get_current()
    assert after == before, f"left attached: {set(after.items()) - set(before.items())}"


@pytest.fixture
def quiet_guard(loud_guard: None) -> Iterator[Any]:
    """The guard as it is in production, with its counts to look at."""
    from dify_otel_instrumentors.core import guard

    guard.loud(False)
    guard._sites.clear()
    yield guard
    guard._sites.clear()
    guard.loud(True)


@dataclass
class Recorded:
    """Spans and metrics of one test."""

    exporter: Any
    reader: Any
    tracer: Any

    @property
    def spans(self) -> list[Any]:
        """Ended spans, oldest first."""
        return list(self.exporter.get_finished_spans())

    def span(self, name: str) -> Any:
        """The one span whose name begins so."""
        found = [s for s in self.spans if s.name.startswith(name)]
        assert len(found) == 1, f"{name!r}: {[s.name for s in self.spans]}"
        return found[0]

    def points(self, metric: str) -> list[Any]:
        """The data points of a metric recorded so far."""
        data = self.reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data is not None else ())
            for scope in resource.scope_metrics
            for found in scope.metrics
            if found.name == metric
            for point in found.data.data_points
        ]


class SequentialIds:
    """Trace and span ids that count from one."""

    def __init__(self) -> None:
        self._next = itertools.count(1)

    def generate_span_id(self) -> int:
        return next(self._next)

    def generate_trace_id(self) -> int:
        return next(self._next)

    def is_trace_id_random(self) -> bool:
        return False


@pytest.fixture
def record() -> Iterator[Any]:
    """`record(**policy)` starts recording calls under that policy and gives what was recorded."""
    from dify_otel import buckets
    from dify_otel_instrumentors.core import metrics, span
    from dify_otel_instrumentors.core.rules import Policy
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    # Resource.create would look through every installed distribution.
    nowhere = Resource.get_empty()

    def begin(emit: Any = None, sampler: Any = None, **policy: Any) -> Recorded:
        exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
        provider = TracerProvider(sampler, nowhere, id_generator=SequentialIds(), shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        tracer = provider.get_tracer("test")
        span.configure(tracer, Policy(**policy), emit)
        meters = MeterProvider([reader], nowhere, shutdown_on_exit=False, views=buckets.views())
        metrics.configure(meters.get_meter("test"))
        return Recorded(exporter, reader, tracer)

    yield begin
    span.configure(None)
    metrics.configure(None)


@pytest.fixture
def recorded(record: Any) -> Recorded:
    """Recording with the defaults: no content."""
    return record()  # type: ignore[no-any-return]
