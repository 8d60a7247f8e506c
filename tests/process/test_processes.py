"""The other ways of starting Dify: prefork and threaded Celery, several and threaded gunicorn workers, recycling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from dify_otel import __version__

from tests.process.conftest import clean
from tests.standin import drive


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_celery_pools(pool: str, doors: Mapping[str, Any], start: Any) -> None:
    with start(doors["inject"], worker={"pool": pool, "concurrency": 2, "name": f"worker-{pool}"}) as running:
        outcomes = [running.call("wf-main:stream") for _ in range(3)]
        for outcome in outcomes:
            assert outcome.status == "succeeded"
            trace = running.trace(outcome, "run/", "invoke_workflow", "end ")
            assert sum(s.name.startswith("chat ") for s in trace.spans) == 1
        assert clean(running.worker) == []


def test_children_that_are_replaced_lose_no_span(doors: Mapping[str, Any], start: Any) -> None:
    options = {"pool": "prefork", "concurrency": 1, "name": "worker-turnover", "max_tasks": 2}
    # A batch would leave after a minute: what arrives was flushed by a child that ended.
    with start(doors["inject"], environment={"OTEL_BSP_SCHEDULE_DELAY": "60000"}, worker=options) as running:
        outcomes = [running.call("wf-parallel:stream") for _ in range(5)]
        for outcome in outcomes[:4]:
            arrived = running.receiver.wait_for(
                lambda spans, mine=outcome.trace_id: [
                    s for s in spans if s.trace_id == mine and s.name.startswith("run/")
                ],
                30,
            )
            assert len(arrived) == 1


def test_several_threaded_workers(doors: Mapping[str, Any], start: Any) -> None:
    options = {"worker_class": "gthread", "workers": 2, "name": "api-gthread"}
    with start(doors["inject"], api=options) as running:
        for case in ("wf-main:block", "chat-dataset:stream", "agent-chat:stream") * 2:
            outcome = running.call(case)
            trace = running.trace(outcome, "dify.app")
            assert len([s for s in trace.spans if s.name.startswith("POST /v1/")]) == 1
        settled = running.receiver.spans
        instances = {str(s.resource["service.instance.id"]) for s in settled if s.service == "dify-api"}
        assert len(instances) >= 2
        assert clean(running.api) == []


def test_plain_gevent_worker_from_a_checkout(doors: Mapping[str, Any], start: Any) -> None:
    with start(doors["checkout"], api={"worker_class": "gevent", "name": "api-checkout"}) as running:
        outcome = running.call("wf-main:stream")
        running.trace(outcome, "run/", "invoke_workflow")
        for process in (running.api, running.worker):
            assert clean(process) == []
            # Dify's own hooks, which a process patched too early never reaches.
            assert "gRPC and psycopg2 are cooperative" in process.text()


def test_over_http(doors: Mapping[str, Any], start: Any) -> None:
    door = doors["inject"]
    environment = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    from dify_otel.tail.receiver import Receiver

    with Receiver() as other:
        environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = other.http_endpoint
        with start(door, environment=environment, api={"name": "api-http"}, worker={"name": "worker-http"}) as running:
            parent, trace_id = drive.traceparent()
            outcome = drive.call(
                running.servers.base, running.servers.apps, drive.CASES["wf-main:stream"], parent=parent
            )
            assert outcome.status == "succeeded"
            other.wait_for(lambda spans: [s for s in spans if s.trace_id == trace_id and s.name.startswith("run/")], 20)


def test_switched_off_patches_nothing(doors: Mapping[str, Any], start: Any) -> None:
    environment = {"DIFY_OTEL_ENABLED": "false"}
    with start(
        doors["inject"], environment=environment, api={"name": "api-off"}, worker={"name": "worker-off"}
    ) as running:
        before = running.receiver.received
        outcome = running.call("wf-main:stream")
        assert outcome.status == "succeeded"
        assert f"dify-otel {__version__}" not in running.api.text() + running.worker.text()
        assert running.receiver.received == before
