"""Runs that no call of the service API makes: files, console users, knowledge pipelines, triggers, waits for people.

Each is named like a case of `drive.CASES`; `spans_of` makes one and gives its spans once they are all there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dify_otel.tail.span import Span

from tests.process.conftest import Running, settle
from tests.standin import drive, processes

CALLS: Mapping[str, tuple[drive.Case, Mapping[str, Any]]] = {
    "wf-files:stream": (drive.Case("wf-picture", "stream", "succeeded"), {"files": drive.FILES}),
    "chatflow-files:stream": (drive.Case("chatflow", "stream", "ok"), {"files": drive.FILES}),
    "chat-files:stream": (drive.Case("chat", "stream", "ok"), {"files": drive.FILES}),
    "agent-files:stream": (drive.Case("agent-picture", "stream", "ok"), {"files": drive.FILES}),
    "wf-console:stream": (drive.Case("wf-main", "stream", "succeeded"), {"console": True}),
    "chat-console:stream": (drive.Case("chat-dataset", "stream", "ok"), {"console": True}),
    "agent-app-fail:stream": (drive.Case("agent-app", "stream", "error", "fail-agent please"), {}),
}
"""Calls of an app with something more than `drive.CASES` has."""

STARTED = ("pipeline", "webhook", "schedule", "plugin")
"""Runs that nobody waits for; the name is the end of their `dify.triggered_from`."""


def _start(running: Running, kind: str) -> int:
    """Start such runs; how many."""
    servers = running.servers
    body: dict[str, Any] = {"query": f"started by a {kind}"}
    if kind == "schedule":
        processes.send(servers, "tasks.workflow_schedule_tasks", "run_schedule_trigger", servers.seeded["schedule_id"])
        return 1
    if kind == "pipeline":
        path = f"/console/api/rag/pipelines/{servers.seeded['pipeline_id']}/workflows/published/run"
        documents = [{"name": "a.txt"}, {"name": "b.txt"}]
        body = {"inputs": body, "start_node_id": "start", "datasource_type": "local_file"}
        body["datasource_info_list"] = documents
    elif kind == "webhook":
        path = f"/triggers/webhook/{servers.apps['wf-nested-inner']['id']}"
    else:
        path = f"/triggers/plugin/{servers.seeded['endpoint_id']}"
    status, answer = drive.request("POST", servers.base + path, body)
    assert status == 200, answer
    return 1 if kind == "webhook" else 2


def _traces(running: Running, found: Iterable[Span]) -> list[Span]:
    wanted = {s.trace_id for s in found}
    return [s for s in running.receiver.spans if s.trace_id in wanted]


def waited(running: Running, condition: Callable[[list[Span]], Any], seconds: float = 30.0) -> list[Span]:
    """The spans of every trace that has one of those that `condition` found."""
    found: list[Span] = running.receiver.wait_for(condition, seconds)
    assert found, "the spans did not arrive"
    settle(running.receiver)
    return _traces(running, condition(running.receiver.spans))


def started(running: Running, kind: str) -> list[Span]:
    """The spans of started runs and of what started them."""
    since = time.time_ns()
    value = "rag-pipeline-run" if kind == "pipeline" else kind

    def runs(spans: list[Span]) -> list[Span]:
        named = [s for s in spans if s.name.startswith("invoke_workflow") and s.start_ns >= since]
        return [s for s in named if s.attributes.get("dify.triggered_from") == value]

    count = _start(running, kind)
    spans = waited(running, lambda spans: found if len(found := runs(spans)) >= count else [])
    if kind == "pipeline":
        spans += [s for s in running.receiver.spans if s.name == "dify.app pipeline" and s not in spans]
    return spans


def spans_of(running: Running, case: str) -> list[Span]:
    """Make that run and give its spans."""
    if case in STARTED:
        return started(running, case)
    if case in CALLS:
        made, more = CALLS[case]
        parent, _ = drive.traceparent()
        outcome = drive.call(running.servers.base, running.servers.apps, made, parent=parent, **more)
        assert outcome.status == made.status, outcome
        return waited(
            running,
            lambda spans: [
                s
                for s in spans
                if s.trace_id == outcome.trace_id and s.name.startswith(("POST /v1/", "POST /console/"))
            ],
        )
    return list(running.trace(running.call(case), "dify.app").spans)
