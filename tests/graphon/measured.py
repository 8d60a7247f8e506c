"""Runs small workflows on the real engine with metrics on and every span sampled away, and prints what was measured.

Beside `runner.py`, whose engine and workflows it uses. The gauges are read while nodes run and after the run.
"""

from __future__ import annotations

import contextlib
import gc
import json
import sys
from collections import Counter
from typing import Any

import runner  # hooks the engine before importing it
from dify_otel_instrumentors import engine
from dify_otel_instrumentors.core import metrics, span
from dify_otel_instrumentors.core.rules import Policy
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF


def _points(reader: InMemoryMetricReader, name: str) -> list[Any]:
    data = reader.get_metrics_data()
    return [
        point
        for resource in (data.resource_metrics if data is not None else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
    ]


def drive(scenario: str, measuring: bool = True) -> dict[str, Any]:
    """One run: per type how often and how long nodes waited, which ran, and the gauges during and after it."""
    reader = InMemoryMetricReader()
    if measuring:
        metrics.configure(MeterProvider([reader]).get_meter("test"))
    started: Counter[str] = Counter()
    during: list[tuple[float, float]] = []
    queues: list[Any] = []

    class Watching(runner.Runner):
        def _handle_event(self, workflow_entry: Any, event: Any) -> None:
            if type(event).__name__ == "NodeRunStartedEvent":
                started[str(getattr(event.node_type, "value", event.node_type))] += 1
                during.append((engine.workers(), engine.ready_nodes()))
            super()._handle_event(workflow_entry, event)

    run = Watching(scenario)
    with contextlib.suppress(RuntimeError):  # how the engine ends a run that failed
        run.run()
    state = getattr(run.graph_engine, "graph_runtime_state", None) or run.graph_engine._runtime_state
    queues.append(state.ready_queue)
    waits = {
        point.attributes["dify.node.type"]: {"count": point.count, "seconds": point.sum, "longest": point.max}
        for point in _points(reader, "dify.node.queue.duration")
    }
    exported = [p.value for p in _points(reader, "dify.graph_engine.workers")]
    out = {
        "waits": waits,
        "started": dict(started),
        "most_workers": max(w for w, _ in during),
        "after": [engine.workers(), engine.ready_nodes()],
        "exported": exported,
        "left_waiting": sum(len(vars(q).get(engine._WAITING, {})) for q in queues),
    }
    metrics.configure(None)
    del run, state, queues[:]
    gc.collect()
    return {**out, "engines_kept": len(engine._pools)}


def main() -> int:
    span.configure(TracerProvider(sampler=ALWAYS_OFF).get_tracer("test"), Policy())
    out = {name: drive(name) for name in ("plain", "failing", "iteration", "iteration-parallel", "loop")}
    json.dump({"measured": out, "off": drive("iteration", measuring=False)}, sys.stdout)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
