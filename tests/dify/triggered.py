"""Runs that a trigger starts and nobody waits for: a schedule that beat finds due, a plugin's event, failing webhooks.

Like `further.py`: each makes its application through the console, starts the run with us in Dify, and gives what is
wrong with its traces, in words. A schedule needs `servers.beating` beside API and worker.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from tests.dify import judgement
from tests.dify.calls import RUN, Case
from tests.dify.console import Refused
from tests.dify.further import MODEL, WORKER_SECONDS, Stage, _account, _below, _has, _streamed
from tests.standin import drive, graphs
from tests.standin.drive import QUERY, Outcome

_DISPATCH = "run/tasks.workflow_schedule_tasks.run_schedule_trigger"
DUE_SECONDS = 180.0
"""A schedule is due every full minute, and looked for once a minute."""
PROVIDER = "langgenius/stubtrigger/stubtrigger"


def _hook(model: str) -> graphs.Graph:
    hook = graphs.node(
        "hook",
        "trigger-webhook",
        "Hook",
        method="post",
        content_type="application/json",
        headers=[],
        params=[],
        body=[{"name": "query", "type": "string", "required": True}],
        async_mode=True,
        status_code=200,
        response_body="",
    )
    nodes = [hook, graphs.llm("llm", "LLM", "{{#hook.query#}}", model), graphs.end(out=["llm", "text"])]
    return graphs.graph(nodes, ("hook", "llm"), ("llm", "end"))


def failing_webhook(stage: Stage) -> list[str]:
    """The caller has his answer before the run fails: the failure is the run's, not the trigger's."""
    stage.needs(f"/console/api/apps/{uuid.uuid4()}/triggers")
    app = stage.console.workflow("hooked-fail", "workflow", _hook("fail-model"))
    address = stage.console.request("GET", f"/apps/{app.id}/workflows/triggers/webhook?node_id=hook")["webhook_id"]
    trace_id, _ = stage.send("POST", f"/triggers/webhook/{address}", {"query": QUERY})
    run = stage.run_of(trace_id)
    kinds = ("trigger webhook", *RUN, "llm LLM", "chat fail-model")
    errors = ("chat fail-model", "llm LLM", "invoke_workflow", "dify.app")
    case = Case("hooked-fail", "hook", "failed", kinds, top="POST /triggers/webhook", errors=errors)
    status = str(run.attributes.get("dify.workflow.status")) if run else "no run"
    spans, found = stage.judge(case, Outcome("hooked-fail", status=status, trace_id=trace_id))
    found += _has(spans, "trigger webhook", {"dify.trigger.type": "webhook", "dify.app_id": app.id})
    for name in RUN:
        found += _has(spans, name, {"dify.triggered_from": "webhook", "dify.app_id": app.id}, every=True)
    return found + _below(spans, "invoke_workflow", "trigger webhook")


def schedule(stage: Stage) -> list[str]:
    """The task that starts it and the run are one trace; the poll that found it due is in none."""
    stage.needs(f"/console/api/apps/{uuid.uuid4()}/triggers")
    every = {"mode": "cron", "cron_expression": "* * * * *", "timezone": "UTC"}
    plan = graphs.node("plan", "trigger-schedule", "Plan", **every)
    nodes = [plan, graphs.llm("llm", "LLM", QUERY), graphs.end(out=["llm", "text"])]
    app = stage.console.workflow("planned", "workflow", graphs.graph(nodes, ("plan", "llm"), ("llm", "end")))
    runs = stage.receiver.await_spans(
        lambda s: s.name.startswith("invoke_workflow") and s.attributes.get("dify.app_id") == app.id, DUE_SECONDS
    )
    _disable(stage, app.id)
    if not runs:
        return [f"no run in {DUE_SECONDS} s"]
    run = runs[0]
    case = Case("planned", "schedule", "succeeded", ("trigger schedule", *RUN, "llm LLM", MODEL), top=_DISPATCH)
    status = str(run.attributes.get("dify.workflow.status"))
    outcome = Outcome("planned", status=status, trace_id=run.trace_id)
    stage.receiver.settle()
    spans = stage.receiver.trace(run.trace_id)
    found = judgement.trace(case, outcome, spans, stage.absent)
    found += [] if status == case.status else [f"the status is {status!r}, not {case.status!r}"]
    beat = [span.name for span in stage.receiver.spans if span.resource.get("service.name") == "dify-beat"]
    found += [f"beat tells of {beat}"] if beat else []
    tenant = stage.console.request("POST", "/workspaces/current", {})["id"]
    trigger = {"dify.trigger.type": "schedule", "dify.trigger.node_id": "plan", "dify.app_id": app.id}
    found += _has(spans, "trigger schedule", trigger | {"dify.tenant_id": tenant, "dify.triggered_from": "schedule"})
    owner = stage.console.request("GET", "/account/profile")["id"]
    wanted: dict[str, Any] = {"dify.triggered_from": "schedule", "dify.app_id": app.id, "dify.tenant_id": tenant}
    for name in RUN:
        found += _has(spans, name, wanted, every=True)
    found += _has(spans, "dify.app", {"user.id": owner, "dify.user.type": "account"})
    return found + _below(spans, "invoke_workflow", "trigger schedule")


_SUBSCRIPTIONS = "/workspaces/current/trigger-provider/langgenius/stubtrigger/stubtrigger/subscriptions"


def plugin(stage: Stage) -> list[str]:
    """The plugin says which events a request holds, and each starts the runs that wait for it."""
    stage.needs(f"/console/api/apps/{uuid.uuid4()}/triggers")
    builder = stage.console.request("POST", f"{_SUBSCRIPTIONS}/builder/create", {"credential_type": "unauthorized"})
    identifier = builder["subscription_builder"]["id"]
    stage.console.request("POST", f"{_SUBSCRIPTIONS}/builder/build/{identifier}", {"name": f"box {identifier[:8]}"})
    listed = stage.console.request("GET", f"{_SUBSCRIPTIONS}/list")
    rows = listed if isinstance(listed, list) else listed["subscriptions"]
    subscription = next(row for row in rows if row["name"] == f"box {identifier[:8]}")
    mail = graphs.node(
        "mail",
        "trigger-plugin",
        "Mail",
        plugin_id="langgenius/stubtrigger",
        provider_id=PROVIDER,
        event_name="mail_came",
        subscription_id=subscription["id"],
        plugin_unique_identifier="langgenius/stubtrigger:0.0.1@" + "0" * 64,
        event_parameters={},
    )
    nodes = [mail, graphs.llm("llm", "LLM", QUERY), graphs.end(out=["llm", "text"])]
    app = stage.console.workflow("mailed", "workflow", graphs.graph(nodes, ("mail", "llm"), ("llm", "end")))
    endpoint = subscription["endpoint"].rpartition("/")[2]
    trace_id, _ = stage.send("POST", f"/triggers/plugin/{endpoint}", {"from": "somebody"})
    run = stage.run_of(trace_id)
    kinds = ("trigger plugin", *RUN, "llm LLM", MODEL)
    case = Case("mailed", "plugin", "succeeded", kinds, top="POST /triggers/plugin")
    status = str(run.attributes.get("dify.workflow.status")) if run else "no run"
    spans, found = stage.judge(case, Outcome("mailed", status=status, trace_id=trace_id))
    trigger = {"dify.trigger.type": "plugin", "dify.trigger.node_id": "mail", "dify.app_id": app.id}
    trigger |= {"dify.trigger.event": "mail_came", "dify.trigger.id": endpoint, "dify.trigger.provider": PROVIDER}
    found += _has(spans, "trigger plugin", trigger | {"dify.trigger.plugin_id": "langgenius/stubtrigger"})
    for name in RUN:
        found += _has(spans, name, {"dify.triggered_from": "plugin", "dify.app_id": app.id}, every=True)
    return found + _below(spans, "invoke_workflow", "trigger plugin")


def _disable(stage: Stage, app: str) -> None:
    """So that it is not due again while others are judged."""
    path = f"/apps/{app}/triggers"
    for trigger in stage.console.request("GET", path)["data"]:
        body = {"trigger_id": trigger["id"], "enable_trigger": False}
        try:
            stage.console.request("POST", f"/apps/{app}/trigger-enable", body)
        except Refused:  # 1.14.2 does as it is told and then fails to say so
            if any(row["status"] == "enabled" for row in stage.console.request("GET", path)["data"]):
                raise


def tried_webhook(stage: Stage) -> list[str]:
    """The console listens, a request comes, and the draft runs in the trace of the console's next question."""
    stage.needs(f"/console/api/apps/{uuid.uuid4()}/triggers")
    app = stage.console.workflow("hook-tried", "workflow", _hook("stub-chat"))
    address = stage.console.request("GET", f"/apps/{app.id}/workflows/triggers/webhook?node_id=hook")["webhook_id"]
    path, body = f"/apps/{app.id}/workflows/draft/trigger/run", {"node_id": "hook"}
    stage.console.request("POST", path, body)
    stage.send("POST", f"/triggers/webhook-debug/{address}", {"query": QUERY})
    until = time.monotonic() + WORKER_SECONDS
    while True:
        parent, trace_id = drive.traceparent()
        headers = {"Content-Type": "application/json", "traceparent": parent}
        outcome, _ = _streamed(stage.console.open("POST", path, json.dumps(body).encode(), headers), "tried", trace_id)
        if outcome.status or time.monotonic() > until:
            break
        time.sleep(0.5)
    case = Case("hook-tried", "stream", "succeeded", (*RUN, "llm LLM", MODEL), top="POST /console/api/")
    spans, found = stage.judge(case, outcome)
    return found + _has(spans, "dify.app", _account(stage) | {"dify.app_id": app.id}, every=True)


KINDS: Mapping[str, Callable[[Stage], list[str]]] = {
    kind.__name__: kind for kind in (failing_webhook, tried_webhook, plugin, schedule)
}
