"""Metrics: named once, advised buckets that arrive at the SDK, labels bounded and no id unless asked for."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import dify_otel_instrumentors
import pytest
from dify_otel import buckets
from dify_otel_instrumentors.core import metrics
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

PACKAGE = Path(dify_otel_instrumentors.__file__).parent
NAMES = {m.name: m for m in metrics.METRICS}


def test_the_table_is_sound() -> None:
    assert len(NAMES) == len(metrics.METRICS)
    for metric in metrics.METRICS:
        assert metric.kind in ("counter", "updown", "histogram", "gauge")
        assert metric.unit and metric.description
        assert bool(metric.buckets) == (metric.kind == "histogram")
        assert list(metric.buckets) == sorted(set(metric.buckets))
        assert re.fullmatch(r"[a-z_]+(\.[a-z_0-9]+)+", metric.name)


@pytest.mark.parametrize("ours", [True, False])
def test_a_gauge_costs_no_metric_its_export(ours: bool) -> None:
    reader = InMemoryMetricReader()
    views = buckets.views() if ours else ()
    provider = MeterProvider([reader], shutdown_on_exit=False, views=views)
    metrics.configure(provider.get_meter("gauges"), gauges=ours or not buckets.gauges_break_exports())
    metrics.observe("dify.otel.queue.size", lambda: 3)
    try:
        metrics.record("dify.app.requests", 1, {})
        data = reader.get_metrics_data()
    finally:
        metrics.observe("dify.otel.queue.size", None)
        metrics.configure(None)
    assert data is not None
    sent = encode_metrics(data).SerializeToString()
    assert b"dify.app.requests" in sent
    assert (b"dify.otel.queue.size" in sent) is (ours or not buckets.gauges_break_exports())


def measures() -> list[tuple[str, str, list[str]]]:
    """Every `Measure("name", …, {labels})` in the concept files: file, metric, literal label names."""
    found = []
    for path in sorted(PACKAGE.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Measure":
                name = node.args[0]
                assert isinstance(name, ast.Constant)
                keys = [
                    k.value
                    for part in ast.walk(node)
                    if isinstance(part, ast.Dict)
                    for k in part.keys
                    if isinstance(k, ast.Constant)
                ]
                found.append((path.name, str(name.value), keys))
    return found


def test_what_is_measured_exists_and_has_no_ids_for_labels() -> None:
    found = measures()
    assert len(found) > 25
    for file, name, labels in found:
        assert name in NAMES, (file, name)
        for label in labels:
            assert not re.search(r"(^|[._])(id|ids|query|session)$", label), (file, name, label)


def test_every_metric_is_recorded_with_its_advised_buckets(recorded: Any) -> None:
    points = [metric for metric in metrics.METRICS if metric.kind != "gauge"]
    for metric in points:
        metrics.record(metric.name, 1, {"label": "value", "absent": None})
    for metric in points:
        (point,) = recorded.points(metric.name) or [None]
        assert point is not None, metric.name
        assert dict(point.attributes) == {"label": "value"}
        if metric.kind == "histogram":
            assert tuple(point.explicit_bounds) == metric.buckets


def test_distinct_labels_are_bounded(recorded: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(metrics, "LABELS_MAX", 10)
    for n in range(50):
        metrics.record("dify.tokens", 1, {"model": f"model {n}"})
    points = {p.attributes["model"]: p.value for p in recorded.points("dify.tokens")}
    assert len(points) == 11
    assert points["other"] == 40


def test_the_same_labels_are_one_object_however_they_come(recorded: Any, monkeypatch: Any) -> None:
    given: list[Any] = []
    _, known = metrics._points["dify.tokens"]
    monkeypatch.setitem(metrics._points, "dify.tokens", (lambda value, labels: given.append(labels), known))
    metrics.record("dify.tokens", 1, {"a": "x", "b": None})
    metrics.record("dify.tokens", 1, {"a": "x", "b": None})
    metrics.record("dify.tokens", 1, {"a": None, "b": "x"})
    metrics.record("dify.tokens", 1, {"c": "x", "b": None})
    assert given == [{"a": "x"}, {"a": "x"}, {"b": "x"}, {"c": "x"}]
    assert given[0] is given[1]


def test_a_label_set_belongs_to_its_metric_and_meter(record: Any) -> None:
    record()
    metrics.record("dify.tokens", 1, {"a": "x"})
    again = record()
    metrics.record("dify.tokens", 1, {"a": "x"})
    metrics.record("dify.cost", 2, {"a": "x"})
    assert [p.value for p in again.points("dify.tokens")] == [1]
    assert [p.value for p in again.points("dify.cost")] == [2]


def test_unknown_metrics_and_no_meter_are_nothing(recorded: Any) -> None:
    metrics.record("no.such.metric", 1, {})
    metrics.configure(None)
    metrics.record("dify.tokens", 1, {})
    assert recorded.points("dify.tokens") == []


def test_an_api_without_advisories_still_gets_histograms() -> None:
    made: list[str] = []

    class OldInstrument:
        def record(self, value: float, labels: Any) -> None: ...

        add = record

    class OldMeter:
        def create_counter(self, name: str, unit: str = "", description: str = "") -> Any:
            made.append(name)
            return OldInstrument()

        create_up_down_counter = create_histogram = create_counter

        def create_observable_gauge(self, name: str, callbacks: Any, unit: str = "", description: str = "") -> Any:
            made.append(name)

    metrics.configure(OldMeter())
    metrics.configure(None)
    assert made == [m.name for m in metrics.METRICS]
