"""Under load every request is one complete trace, losses are counted to the span, memory is flat, the cost bounded."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest
from dify_otel.tail.receiver import Receiver
from dify_otel.tail.span import Span
from dify_otel.tail.tree import build

from tests.load import measure
from tests.process.conftest import clean, settle
from tests.standin import processes

pytestmark = pytest.mark.process

CASES = ("wf-main:stream", "chat:stream", "agent-chat:stream", "wf-parallel:stream")
WANTED = {
    "wf-main:stream": ("POST /v1/", "dify.app", "run/", "invoke_workflow", "chat "),
    "wf-parallel:stream": ("POST /v1/", "dify.app", "run/", "invoke_workflow"),
    "chat:stream": ("POST /v1/", "dify.app", "chat "),
    "agent-chat:stream": ("POST /v1/", "dify.app", "invoke_agent", "chat "),
}
PAIRS = 2
BARE_SECONDS_MAX = 20.0
GROWTH_MIB = 12.0
"""More than without us, in the measured part of a run. A leak of one kept span (7 KiB) a request passes this in CI's
form; what the allocator does by itself does not."""
COST_MAX = 2.0
"""CPU seconds against the run without us. The stand-in's own work is a hundredth of Dify's, so what we cost
weighs far more here than on the real thing; this catches a cost that has doubled. Fifty at once saturate the processes,
so that latency follows CPU, and whatever else the machine does on top: hence more room there."""
LATENCY_MAX = 3.0


class Metrics:
    """The counters of the exported metrics, by process."""

    def __init__(self) -> None:
        self.latest: dict[tuple[str, str, str], float] = {}

    def add(self, signal: str, body: bytes) -> None:
        if signal != "metrics":
            return
        from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            facts = {a.key: a.value.string_value for a in resource.resource.attributes}
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.sum.data_points:
                        reason = "".join(a.value.string_value for a in point.attributes)
                        key = (facts["service.instance.id"], metric.name, reason)
                        self.latest[key] = point.as_int or point.as_double

    def total(self, name: str) -> dict[str, int]:
        """By process."""
        found: dict[str, int] = defaultdict(int)
        for (instance, metric, _), value in self.latest.items():
            if metric == name:
                found[instance] += int(value)
        return dict(found)


@pytest.fixture
def counting() -> Iterator[tuple[Receiver, Metrics]]:
    metrics = Metrics()
    with Receiver(keep=3_000_000, on_request=metrics.add) as receiver:
        yield receiver, metrics


def _running(
    stack: ExitStack, servers: processes.Backing, environment: Mapping[str, str], name: str
) -> dict[str, processes.Process]:
    api = processes.api(servers, environment=environment, name=f"api-{name}", connections=200)
    worker = processes.worker(
        servers, environment=environment, name=f"worker-{name}", concurrency=60, max_tasks=1_000_000
    )
    return {"api": stack.enter_context(api), "worker": stack.enter_context(worker)}


def _by_instance(spans: list[Span]) -> dict[str, int]:
    found: dict[str, int] = defaultdict(int)
    for span in spans:
        found[str(span.resource["service.instance.id"])] += 1
    return dict(found)


def _environment(door: Any, receiver: Receiver, **more: str) -> dict[str, str]:
    return {
        **door.environment,
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.grpc_endpoint,
        "OTEL_METRIC_EXPORT_INTERVAL": "2000",
        "DIFY_OTEL_FLUSH_SECONDS": "15",
        **more,
    }


def test_load(
    servers: processes.Backing, doors: Mapping[str, Any], counting: tuple[Receiver, Metrics], seconds: float
) -> None:
    receiver, metrics = counting
    each = seconds / PAIRS
    bare, ours = list[measure.Run](), list[measure.Run]()
    logs = []
    for pair in range(PAIRS):
        with ExitStack() as stack:
            watched = _running(stack, servers, {}, f"load-bare-{pair}")
            bare.append(measure.load(servers, watched, CASES, min(each, BARE_SECONDS_MAX)))
        with ExitStack() as stack:
            watched = _running(stack, servers, _environment(doors["inject"], receiver), f"load-{pair}")
            ours.append(measure.load(servers, watched, CASES, each))
            settle(receiver, 2.0)
        logs += list(watched.values())
    for run in (*bare, *ours):
        assert run.failures == []

    # Every request is one complete trace.
    by_trace: dict[str, list[Span]] = defaultdict(list)
    for span in receiver.spans:
        by_trace[span.trace_id].append(span)
    outcomes = [outcome for run in ours for outcome in run.outcomes]
    assert len(outcomes) > measure.CONCURRENT
    for outcome in outcomes:
        spans = by_trace.get(outcome.trace_id, [])
        names = [span.name for span in spans]
        assert all(any(n.startswith(w) for n in names) for w in WANTED[outcome.case]), (outcome.case, names)
        ids = {span.span_id for span in spans}
        outside = [span.name for span in spans if span.parent_id not in ids]
        assert len(outside) == 1 and outside[0].startswith("POST /v1/"), (outcome.case, outside)
        assert len(ids) == len(spans)
        assert build(spans)

    # Nothing is lost while the queue has room, and both sides count the same.
    assert sum(metrics.total("dify.otel.spans.dropped").values()) == 0
    assert metrics.total("dify.otel.spans.exported") == _by_instance(receiver.spans)
    for process in logs:
        assert clean(process) == []
        assert "were not sent" not in process.text()

    # Memory is flat, and the cost is bounded.
    for name in ("api", "worker"):
        without = max(0.0, *(run.growth(name) for run in bare))
        growths = [run.growth(name) for run in ours]
        print(
            f"{name}: {statistics.mean(r.resident(name) for r in bare):.0f} MiB without us, "
            f"{statistics.mean(r.resident(name) for r in ours):.0f} with; "
            f"growth {without:.1f} without, {', '.join(f'{g:.1f}' for g in growths)} MiB with"
        )
        assert min(growths) < without + GROWTH_MIB, growths
    print(
        f"{len(outcomes)} requests in {sum(r.seconds for r in ours):.0f} s, {len(receiver.spans)} spans, "
        f"{len(receiver.spans) / len(outcomes):.1f} a request"
    )
    figures = {
        "CPU seconds a request": [(b.cpu_per_request, o.cpu_per_request) for b, o in zip(bare, ours, strict=True)],
        "p50 of 50 at once": [(b.latency(50), o.latency(50)) for b, o in zip(bare, ours, strict=True)],
        "p95 of 50 at once": [(b.latency(95), o.latency(95)) for b, o in zip(bare, ours, strict=True)],
    }
    for what, pairs in figures.items():
        ratios = [with_us / without for without, with_us in pairs]
        print(f"{what}: " + ", ".join(f"{w:.3f} → {o:.3f} ({o / w:.2f}×)" for w, o in pairs))
        assert min(ratios) < (COST_MAX if what.startswith("CPU") else LATENCY_MAX), (what, pairs)


def test_what_a_tiny_queue_loses_is_counted_to_the_span(
    servers: processes.Backing, doors: Mapping[str, Any], counting: tuple[Receiver, Metrics], seconds: float
) -> None:
    receiver, metrics = counting
    tiny = {"OTEL_BSP_MAX_QUEUE_SIZE": "4", "DIFY_OTEL_INFRA_SPANS": "off", "OTEL_BSP_SCHEDULE_DELAY": "2000"}
    environment = _environment(doors["inject"], receiver, **tiny)
    case = ("wf-parallel:stream",)
    with ExitStack() as stack:
        room = {**environment, "OTEL_BSP_MAX_QUEUE_SIZE": "20000"}
        watched = _running(stack, servers, room, "load-room")
        few = measure.load(servers, watched, case, 1.0, concurrent=2)
    settle(receiver)
    assert sum(metrics.total("dify.otel.spans.dropped").values()) == 0
    whole = {o.trace_id: sum(s.trace_id == o.trace_id for s in receiver.spans) for o in few.outcomes}
    (each,) = set(whole.values())  # without infrastructure spans a request always makes as many
    before = set(metrics.total("dify.otel.spans.exported"))
    receiver.clear()
    with ExitStack() as stack:
        watched = _running(stack, servers, environment, "load-tiny")
        run = measure.load(servers, watched, case, min(10.0, seconds / 6), concurrent=20)
    settle(receiver)
    assert run.failures == few.failures == []
    dropped = {k: v for k, v in metrics.total("dify.otel.spans.dropped").items() if k not in before}
    exported = {k: v for k, v in metrics.total("dify.otel.spans.exported").items() if k not in before}
    sent = each * len(run.outcomes)
    print(
        f"{len(run.outcomes)} requests, {sent} spans: {len(receiver.spans)} received, {sum(dropped.values())} dropped"
    )
    assert sum(dropped.values()) > 0
    assert exported == _by_instance(receiver.spans)
    assert sum(dropped.values()) == sent - len(receiver.spans)
