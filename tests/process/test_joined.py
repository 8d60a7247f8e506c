"""Runs that belong together although time, a process or a queue lies between: nested, linked, or one trace."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest
from dify_otel.tail.span import Span

from tests.process import kinds
from tests.process.conftest import Running, settle
from tests.standin import drive, processes


@pytest.fixture(scope="module")
def running(doors: Mapping[str, Any], start: Any) -> Iterator[Running]:
    with start(doors["inject"], api={"name": "api-j"}, worker={"name": "worker-j"}) as up:
        yield up


def _named(spans: list[Span], prefix: str) -> list[Span]:
    return [s for s in spans if s.name.startswith(prefix)]


def _above(spans: list[Span], span: Span) -> list[Span]:
    by_id = {s.span_id: s for s in spans}
    above = []
    current = by_id.get(span.parent_id)
    while current is not None:
        above.append(current)
        current = by_id.get(current.parent_id)
    return above


def test_a_run_that_waits_for_a_person_goes_on_in_another_process_and_links_back(
    doors: Mapping[str, Any], servers: processes.Backing, receiver: Any
) -> None:
    environment = doors["inject"].environment
    key = servers.apps["wf-human"]["key"]
    with ExitStack() as stack:
        stack.enter_context(processes.api(servers, environment=environment, name="api-h"))
        with processes.worker(servers, environment=environment, name="worker-h1") as first:
            outcome = drive.call(servers.base, servers.apps, drive.Case("wf-human", "stream", "paused"))
            assert outcome.status == "paused", outcome
            run_id = outcome.ids["workflow_run_id"]
            paused = _run(receiver, run_id, lambda s: s.attributes.get("dify.workflow.status") == "paused")
            worker_of = first.pid
        waited_since = time.time()
        with processes.worker(servers, environment=environment, name="worker-h2") as second:
            assert second.pid != worker_of
            status, answer = drive.request(
                "POST",
                f"{servers.base}/v1/form/human_input/{run_id}",
                {"user": "x"},
                {"Authorization": f"Bearer {key}"},
            )
            assert status == 200, answer
            resumed = _run(receiver, run_id, lambda s: s.attributes.get("dify.workflow.status") == "succeeded")
    assert resumed.resource["service.instance.id"] != paused.resource["service.instance.id"]
    assert (paused.trace_id, paused.span_id) in [(link.trace_id, link.span_id) for link in resumed.links]
    assert paused.links == ()
    assert resumed.attributes["dify.workflow.resumed"] is True
    waited = resumed.attributes["dify.human_input.wait_time"]
    assert isinstance(waited, float)
    assert 0 < waited <= resumed.start_ns / 1e9 - paused.start_ns / 1e9
    assert waited >= resumed.start_ns / 1e9 - waited_since
    assert paused.status == resumed.status == "UNSET"
    (asked,) = [
        s
        for s in receiver.spans
        if s.name.startswith("human-input") and s.trace_id == paused.trace_id and s.parent_id == paused.span_id
    ]
    assert asked.attributes["dify.node.status"] == "paused"
    assert asked.attributes["dify.human_input.form_id"]


def _run(receiver: Any, run_id: str, condition: Callable[[Span], bool]) -> Span:
    def found(spans: list[Span]) -> list[Span]:
        runs = _named(spans, "invoke_workflow")
        return [s for s in runs if s.attributes.get("dify.workflow.run_id") == run_id and condition(s)]

    spans = receiver.wait_for(found, 30)
    assert spans, f"no such span of run {run_id}"
    settle(receiver)
    return found(receiver.spans)[0]


def test_a_workflow_used_as_a_tool_lies_below_the_tool(running: Running) -> None:
    spans = list(running.trace(running.call("wf-nested:stream"), "invoke_workflow wf-nested-inner").spans)
    (tool,) = _named(spans, "execute_tool")
    (inner,) = _named(spans, "invoke_workflow wf-nested-inner")
    (outer,) = [s for s in _named(spans, "invoke_workflow wf-nested") if s is not inner]
    above = _above(spans, inner)
    assert tool in above
    assert outer in above
    assert above.index(tool) < above.index(outer)
    (app,) = _named(spans, "dify.app wf-nested-inner")
    assert app.attributes["dify.parent.workflow.run_id"] == outer.attributes["dify.workflow.run_id"]
    assert inner.attributes["dify.workflow.run_id"] != outer.attributes["dify.workflow.run_id"]
    assert inner.attributes["dify.workflow.call_depth"] == 2


def test_indexing_in_the_worker_has_its_embeddings_below_it(running: Running) -> None:
    seeded = running.servers.seeded
    since = time.time_ns()
    processes.send(
        running.servers,
        "tasks.document_indexing_task",
        "document_indexing_task",
        seeded["unindexed_dataset_id"],
        [seeded["unindexed_document_id"]],
    )
    spans = kinds.waited(
        running, lambda s: [x for x in s if x.name.startswith("dataset_indexing") and x.start_ns >= since]
    )
    (indexing,) = _named(spans, "dataset_indexing run")
    assert indexing.attributes["dify.dataset.id"] == seeded["unindexed_dataset_id"]
    assert indexing.attributes["dify.document.ids"] == [seeded["unindexed_document_id"]]
    assert [s.name.split("/")[0] for s in _above(spans, indexing)] == ["run"]
    embeddings = _named(spans, "embeddings")
    assert embeddings
    for call in embeddings:
        assert indexing in _above(spans, call)


@pytest.mark.parametrize(("kind", "runs"), [("webhook", 1), ("schedule", 1), ("plugin", 2)])
def test_a_trigger_and_the_runs_it_starts_are_one_trace(kind: str, runs: int, running: Running) -> None:
    spans = kinds.started(running, kind)
    started = _named(spans, "invoke_workflow")
    assert len(started) == runs
    assert len({s.trace_id for s in spans}) == 1
    triggers = []
    for run in started:
        assert run.attributes["dify.triggered_from"] == kind
        above = _above(spans, run)
        trigger = next(s for s in above if s.name == f"trigger {kind}")
        assert trigger.attributes["dify.trigger.type"] == kind
        assert trigger.attributes["dify.trigger.node_id"] == "start"
        assert trigger.attributes["dify.app_id"] == run.attributes["dify.app_id"]
        triggers.append(trigger.span_id)
    assert len(set(triggers)) == runs


def test_a_knowledge_pipelines_runs_are_below_the_request_that_asked_for_them_and_link_to_it(running: Running) -> None:
    since = time.time_ns()
    kinds.started(running, "pipeline")
    mine = [s for s in running.receiver.spans if s.start_ns >= since]
    (request,) = [s for s in _named(mine, "dify.app pipeline") if s.service == "dify-api"]
    assert request.attributes["dify.indexing.document_count"] == 2
    runs = _named(mine, "invoke_workflow pipeline")
    assert len(runs) == 2
    for run in runs:
        assert [(link.trace_id, link.span_id) for link in run.links] == [(request.trace_id, request.span_id)]
        assert "dify.workflow.resumed" not in run.attributes
        app, task, *_, above = _above(mine, run)[:-1]
        assert (app.name, task.name.split("/")[0], above) == ("dify.app pipeline", "run", request)
