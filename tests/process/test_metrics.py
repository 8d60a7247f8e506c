"""Every metric there is to see, from real processes that sample every trace away: names, units, buckets, labels."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from dify_otel.tail.receiver import Receiver
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from tests.process import kinds
from tests.standin import drive, processes

D = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
W = (1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200)
A = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 102.4, 204.8, 409.6)
T = tuple(4**n for n in range(14))
N = (1, 2, 4, 8, 16, 32, 64, 128)
MCP = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)
DOCUMENTS = (0, 1, 2, 4, 8, 16, 32)
MODEL = ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model")
TOKENS = (*MODEL, "gen_ai.token.modality")

WANTED: Mapping[str, tuple[str, tuple[float, ...] | None, tuple[str, ...]]] = {
    "gen_ai.client.operation.duration": ("s", D, (*MODEL, "error.type")),
    "gen_ai.client.token.usage": ("{token}", T, (*MODEL, "gen_ai.token.type")),
    "gen_ai.client.operation.time_to_first_chunk": ("s", D, MODEL),
    "gen_ai.client.operation.time_per_output_chunk": ("s", D, MODEL),
    "gen_ai.client.inference.duration": ("s", D, (*MODEL, "error.type")),
    "gen_ai.client.inference.time_to_first_chunk": ("s", D, MODEL),
    "gen_ai.client.inference.time_per_output_chunk": ("s", D, MODEL),
    "gen_ai.client.inference.operation.input_tokens": ("{token}", T, TOKENS),
    "gen_ai.client.inference.operation.output_tokens": ("{token}", T, TOKENS),
    "gen_ai.client.inference.usage.input_tokens": ("{token}", None, TOKENS),
    "gen_ai.client.inference.usage.output_tokens": ("{token}", None, TOKENS),
    "gen_ai.execute_tool.duration": (
        "s",
        D,
        ("gen_ai.operation.name", "gen_ai.tool.name", "gen_ai.tool.type", "error.type"),
    ),
    "gen_ai.invoke_workflow.duration": ("s", W, ("gen_ai.operation.name", "error.type")),
    "gen_ai.invoke_agent.duration": ("s", A, (*MODEL, "error.type")),
    "gen_ai.invoke_agent.inference_calls": ("{call}", N, ()),
    "gen_ai.invoke_agent.tool_calls": ("{call}", N, ()),
    "mcp.client.operation.duration": ("s", MCP, ("mcp.method.name", "gen_ai.tool.name", "error.type")),
    "mcp.client.session.duration": ("s", MCP, ("error.type",)),
    "dify.feedback": ("{rating}", None, ("dify.feedback.rating", "dify.app.mode")),
    "dify.app.requests": ("{request}", None, ("dify.app.mode", "dify.invoke_from", "dify.streaming", "outcome")),
    "dify.app.request.duration": ("s", W, ("dify.app.mode", "dify.streaming", "outcome")),
    "dify.app.time_to_first_chunk": ("s", D, ("dify.app.mode",)),
    "dify.app.active_requests": ("{request}", None, ("dify.app.mode",)),
    "dify.workflow.duration": ("s", W, ("dify.workflow.status", "dify.triggered_from")),
    "dify.workflow.active_runs": ("{run}", None, ("dify.app.mode",)),
    "dify.workflow.steps": ("{node}", N, ("dify.workflow.status",)),
    "dify.workflow.pauses": ("{pause}", None, ()),
    "dify.human_input.wait.duration": ("s", (60, 300, 900, 3600, 14400, 43200, 86400, 259200, 604800), ()),
    "dify.node.duration": ("s", (*D, 163.84, 327.68), ("dify.node.type", "dify.node.status")),
    "dify.node.executions": ("{execution}", None, ("dify.node.type", "dify.node.status", "error.type")),
    "dify.node.retries": ("{retry}", None, ("dify.node.type",)),
    "dify.node.queue.duration": ("s", D, ("dify.node.type",)),
    "dify.graph_engine.workers": ("{worker}", None, ()),
    "dify.graph_engine.ready_queue.size": ("{node}", None, ()),
    "dify.iteration.items": ("{item}", N, ("dify.iteration.parallel",)),
    "dify.celery.queue.wait.duration": ("s", D, ("dify.queue",)),
    "dify.retrieval.duration": (
        "s",
        D,
        ("dify.retrieval.method", "dify.retrieval.reranking_enabled", "error.type"),
    ),
    "dify.retrieval.documents": ("{document}", DOCUMENTS, ("dify.retrieval.method",)),
    "dify.retrieval.max_score": ("1", tuple(n / 10 for n in range(1, 10)), ("dify.retrieval.method",)),
    "dify.rerank.duration": ("s", D, ("gen_ai.provider.name", "gen_ai.request.model", "error.type")),
    "dify.rerank.input_documents": ("{document}", DOCUMENTS, ("gen_ai.provider.name", "gen_ai.request.model")),
    "dify.tool.duration": ("s", D, ("gen_ai.tool.name", "dify.tool.provider_type", "error.type")),
    "dify.agent.iterations": ("{iteration}", N, ("dify.agent.strategy", "finish_reason")),
    "dify.tokens": (
        "{token}",
        None,
        ("dify.operation_type", "gen_ai.token.type", "dify.app.mode", "gen_ai.provider.name", "gen_ai.request.model"),
    ),
    "dify.cost": ("1", None, ("gen_ai.provider.name", "gen_ai.request.model", "currency")),
    "dify.moderation.checks": (
        "{check}",
        None,
        (
            *("dify.moderation.type", "dify.moderation.stage", "dify.moderation.flagged"),
            *("dify.moderation.action", "error.type"),
        ),
    ),
    "dify.plugin.invocation.duration": ("s", D, ("dify.plugin.name", "dify.plugin.action", "error.type")),
    "dify.sandbox.duration": ("s", D, ("dify.code.language", "error.type")),
    "dify.otel.queue.size": ("{span}", None, ()),
    "dify.otel.overhead": ("s", (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1), ()),
    "dify.indexing.duration": ("s", W, ("dify.indexing.stage", "error.type")),
    "dify.indexing.segments": ("{segment}", None, ("dify.indexing.stage", "dify.indexing.status")),
}
"""Metric to unit, bucket boundaries (None: no histogram) and the labels it may have."""

ELSEWHERE = {
    "gen_ai.client.inference.usage.cache_read.input_tokens": "no provider of the stand-in caches",
    "gen_ai.client.inference.usage.cache_write.input_tokens": "no provider of the stand-in caches",
    "gen_ai.client.inference.usage.reasoning.output_tokens": "no model of the stand-in reasons",
    "dify.iteration.failed_items": "no item of the stand-in's iterations fails",
    "dify.retrieval.empty": "the stand-in's knowledge always answers",
    "dify.model.rate_limited": "no provider of the stand-in refuses",
    "dify.model.load_balancing.switches": "no model of the stand-in has several credentials",
    "dify.model.quota_exceeded": "the stand-in's quota does not run out",
    "dify.sandbox.errors": "no code of the stand-in fails",
    "dify.otel.spans.exported": "nothing is sampled here",
    "dify.otel.spans.dropped": "nothing is sampled here",
    "dify.otel.spans.truncated": "nothing is sampled here",
}
"""Metrics that unit tests show, and why they are not seen here."""

CASES = (
    *("wf-main:stream", "wf-main:block", "wf-fail:stream", "wf-retry:stream", "wf-iter:stream", "chatflow:stream"),
    *("chat:stream", "chat-dataset:stream", "chat-fail:stream", "completion:block"),
    *("agent-chat:stream", "agent-chat-fail:stream", "agent-app:stream"),
)


RATINGS = ("like", "dislike", None)


@dataclass
class _Metrics:
    requests: list[Any] = field(default_factory=list)

    def add(self, signal: str, body: bytes) -> None:
        if signal == "metrics":
            self.requests.append(ExportMetricsServiceRequest.FromString(body))

    def named(self) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for request in list(self.requests):
            for resource in request.resource_metrics:
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        if metric.name.startswith(("gen_ai.", "dify.", "mcp.")):
                            found.setdefault(metric.name, []).append(metric)
        return found


def _points(metric: Any) -> Any:
    return getattr(metric, metric.WhichOneof("data")).data_points


def _rate(servers: Any, message: str) -> None:
    key = servers.apps["chat"]["key"]
    for rating in RATINGS:
        body = {"user": "x", "rating": rating, "content": "because of the standin-user"}
        url = f"{servers.base}/v1/messages/{message}/feedbacks"
        status, answer = drive.request("POST", url, body, {"Authorization": f"Bearer {key}"})
        assert status == 200, answer


def _use_mcp(servers: Any) -> None:
    """As a plugin does that uses a tool of Dify's."""
    for tool in ("weather", "unknown"):
        body = {
            "user_id": "standin-user",
            "tenant_id": servers.seeded["tenant_id"],
            "tool_type": "mcp",
            "provider": "standin-mcp",
            "tool": tool,
            "tool_parameters": {"city": "Berlin"},
        }
        url = f"{servers.base}/inner/api/invoke/tool"
        status, answer = drive.request("POST", url, body, {"X-Inner-Api-Key": "inner-key"})
        assert status == 200 and (b"sunny" in answer) is (tool == "weather"), answer


@pytest.fixture(scope="module")
def seen(doors: Mapping[str, Any], start: Any) -> Iterator[tuple[dict[str, list[Any]], int]]:
    kept = _Metrics()
    with Receiver(on_request=kept.add) as receiver:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.grpc_endpoint,
            "OTEL_TRACES_SAMPLER": "always_off",
            "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        }
        with start(doors["inject"], environment=environment, api={"name": "api-m"}, worker={"name": "worker-m"}) as up:
            servers = up.servers
            for case in CASES:
                outcome = drive.call(servers.base, servers.apps, drive.CASES[case])
                if case == "chat:stream":
                    _rate(servers, outcome.ids["message_id"])
            _use_mcp(servers)
            drive.call(servers.base, servers.apps, drive.Case("chat-moderated", "stream", "ok", "say secretword now"))
            paused = drive.call(servers.base, servers.apps, drive.Case("wf-human", "stream", "paused"))
            key = servers.apps["wf-human"]["key"]
            url = f"{servers.base}/v1/form/human_input/{paused.ids['workflow_run_id']}"
            drive.request("POST", url, {"user": "x"}, {"Authorization": f"Bearer {key}"})
            kinds._start(up, "webhook")
            processes.send(
                servers,
                "tasks.document_indexing_task",
                "document_indexing_task",
                servers.seeded["unindexed_dataset_id"],
                [servers.seeded["unindexed_document_id"]],
            )
            deadline = time.monotonic() + 30
            while set(WANTED) - set(kept.named()) and time.monotonic() < deadline:
                time.sleep(0.5)
        yield kept.named(), len(receiver.spans)


def test_the_table_and_this_list_name_the_same_metrics() -> None:
    from dify_otel_instrumentors.core import metrics

    assert {m.name for m in metrics.METRICS} == set(WANTED) | set(ELSEWHERE)
    for metric in metrics.METRICS:
        if metric.name in WANTED:
            unit, buckets, _ = WANTED[metric.name]
            assert (metric.unit, metric.buckets) == (unit, tuple(float(b) for b in buckets or ()))


def test_no_span_was_exported(seen: tuple[dict[str, list[Any]], int]) -> None:
    assert seen[1] == 0


def test_nothing_but_what_is_listed_arrives(seen: tuple[dict[str, list[Any]], int]) -> None:
    assert set(seen[0]) - set(ELSEWHERE) == set(WANTED)


@pytest.mark.parametrize("name", WANTED)
def test_metric(name: str, seen: tuple[dict[str, list[Any]], int]) -> None:
    unit, buckets, labels = WANTED[name]
    for metric in seen[0][name]:
        assert metric.unit == unit
        assert metric.description
        assert (metric.WhichOneof("data") == "histogram") is (buckets is not None)
        for point in _points(metric):
            told = {pair.key: pair.value.string_value for pair in point.attributes}
            assert set(told) <= set(labels), told
            for value in told.values():
                assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-", value), f"an id: {told}"
                assert "standin-user" not in value
            if buckets is not None:
                assert tuple(point.explicit_bounds) == tuple(float(b) for b in buckets)


def test_every_run_was_counted_once(seen: tuple[dict[str, list[Any]], int]) -> None:
    last: dict[Any, int] = {}
    for metric in seen[0]["dify.app.requests"]:
        for point in _points(metric):
            told = tuple(sorted((p.key, p.value.string_value or p.value.bool_value) for p in point.attributes))
            last[told] = max(last.get(told, 0), point.as_int)
    # A streamed workflow or chatflow is a request in the API only, though the worker runs it.
    assert sum(last.values()) == len(CASES) + 2


def _latest(metrics: list[Any], count: str, *labels: str) -> dict[tuple[str, ...], int]:
    """Cumulative points by some of their labels, the last of each process being the largest."""
    found: dict[tuple[str, ...], int] = {}
    for metric in metrics:
        for point in _points(metric):
            told = {p.key: p.value.string_value for p in point.attributes}
            key = tuple(told.get(label, "") for label in labels)
            found[key] = max(found.get(key, 0), getattr(point, count))
    return found


def test_every_rating_was_counted(seen: tuple[dict[str, list[Any]], int]) -> None:
    found = _latest(seen[0]["dify.feedback"], "as_int", "dify.feedback.rating", "dify.app.mode")
    assert found == {(rating or "removed", "chat"): 1 for rating in RATINGS}


def test_every_mcp_request_and_session_was_measured(seen: tuple[dict[str, list[Any]], int]) -> None:
    labels = ("mcp.method.name", "gen_ai.tool.name", "error.type")
    assert _latest(seen[0]["mcp.client.operation.duration"], "count", *labels) == {
        ("initialize", "", ""): 2,
        ("tools/call", "weather", ""): 1,
        ("tools/call", "unknown", "tool_error"): 1,
    }
    assert _latest(seen[0]["mcp.client.session.duration"], "count", "error.type") == {("",): 2}
