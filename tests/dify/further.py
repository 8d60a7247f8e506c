"""Kinds of runs that none of the calls is: console users', with files, indexing, waiting for people, triggered, nested.

Each function makes what it needs through the console, starts such a run with us in Dify, and gives what is wrong with
its traces, in words. A release is asked whether it has the kind, by the route it has for it; `Lacking` says it has not.
"""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from dify_otel.tail.span import Span

from tests.dify import calls, console, judgement
from tests.dify.calls import RUN, Case
from tests.dify.console import Application, Console
from tests.dify.receiver import Receiver
from tests.standin import drive, graphs
from tests.standin.drive import QUERY, Outcome

MODEL = "chat stub-chat"
USER = "standin-user"
PERSON_SECONDS = 2.0
"""How long the person takes to answer, at least."""
WORKER_SECONDS = 40.0


class Lacking(Exception):
    """The release does not have this kind of run; the message says how that shows."""


@dataclass(frozen=True)
class Stage:
    """A running Dify with us in it, a console user, and where the spans arrive."""

    base: str
    console: Console
    receiver: Receiver
    vectors: bool
    absent: Collection[str]
    goes_on: Mapping[str, str]
    """How a run ends that waited for a person, without us, by mode: 1.16 stops it when it goes on (Dify #39750)."""
    judged: set[str] = field(default_factory=set)
    """Traces of which it is known what has to fail in them."""

    def needs(self, path: str) -> None:
        """Raises `Lacking` where the release has no such route."""
        try:
            with urllib.request.urlopen(urllib.request.Request(self.base + path, method="OPTIONS"), timeout=30):
                return
        except urllib.error.HTTPError as error:
            if error.code == 404:
                raise Lacking(f"OPTIONS {path}: 404") from None

    def call(self, app: Application, case: Case, **more: Any) -> Outcome:
        """A call of the service API in a trace of its own."""
        parent, _ = drive.traceparent()
        named = drive.Case(case.app, case.how, case.status)
        return drive.call(self.base, {case.app: asdict(app)}, named, parent=parent, user=USER, **more)

    def send(self, method: str, path: str, body: Any, key: str = "", kind: str = "application/json") -> tuple[str, Any]:
        """The trace a request began, and its answer. Raises `RuntimeError` with what Dify refused."""
        parent, trace_id = drive.traceparent()
        headers = {"Content-Type": kind, "traceparent": parent} | ({"Authorization": f"Bearer {key}"} if key else {})
        status, answer = drive.request(method, self.base + path, body, headers)
        if status >= 300:
            raise RuntimeError(f"{method} {path}: {status} {answer[:1500].decode(errors='replace')}")
        # Dify 1.6 answers MCP as a stream of one event.
        return trace_id, json.loads(answer.removeprefix(b"event: message\ndata: ") or b"null")

    def judge(self, case: Case, outcome: Outcome) -> tuple[list[Span], list[str]]:
        """The trace's spans once they are all there, and what is wrong with the call and with them."""
        self.judged.add(outcome.trace_id)
        self.receiver.await_server_span(outcome.trace_id, case.top)
        self.receiver.settle()
        spans = self.receiver.trace(outcome.trace_id)
        found = judgement.trace(case, outcome, spans, self.absent)
        if outcome.status != case.status:
            found.insert(0, f"the status is {outcome.status!r}, not {case.status!r}: {outcome.error}")
        return spans, found

    def run_of(self, trace_id: str) -> Span | None:
        """The workflow run of that trace, once it is there."""
        found = self.receiver.await_spans(
            lambda s: s.trace_id == trace_id and s.name.startswith("invoke_workflow"), WORKER_SECONDS
        )
        return found[0] if found else None


def _has(spans: Sequence[Span], name: str, wanted: Mapping[str, Any], *, every: bool = False) -> list[str]:
    """Nothing when a span whose name begins so has all these attributes, or every such span has."""
    named = [span for span in spans if span.name.startswith(name)]
    other = [{key: s.attributes.get(key) for key in wanted if s.attributes.get(key) != wanted[key]} for s in named]
    wrong = any(other) if every and named else all(other)
    return [f"{name!r} has {other or 'no span'}, not {dict(wanted)}"] if wrong else []


def _streamed(response: Any, name: str, trace_id: str) -> tuple[Outcome, str]:
    """What a caller saw of a stream, and its text."""
    outcome = Outcome(name, trace_id=trace_id)
    with response:
        lines = response.readlines()
    drive._drain(lines, outcome, time.perf_counter(), None)
    return outcome, b"".join(lines).decode()


def _account(stage: Stage) -> dict[str, Any]:
    profile = stage.console.request("GET", "/account/profile")
    return {"user.id": profile["id"], "dify.user.type": "account", "dify.invoke_from": "debugger"}


def _debug(stage: Stage, case: Case, path: str, body: Mapping[str, Any]) -> tuple[list[Span], list[str]]:
    parent, trace_id = drive.traceparent()
    headers = {"Content-Type": "application/json", "traceparent": parent}
    response = stage.console.open("POST", path, json.dumps(body).encode(), headers)
    return stage.judge(case, _streamed(response, case.name, trace_id)[0])


def draft_of_a_workflow(stage: Stage) -> list[str]:
    app = stage.console.workflow("draft", "workflow", graphs.model_graph("stub-chat"))
    case = Case("draft", "stream", "succeeded", (*RUN, "llm LLM", MODEL), top="POST /console/api/")
    body = {"inputs": {"query": QUERY}, "files": []}
    spans, found = _debug(stage, case, f"/apps/{app.id}/workflows/draft/run", body)
    triggered = {"dify.triggered_from": "debugging"}
    found += _has(spans, "dify.app", _account(stage) | triggered, every=True)
    return found + _has(spans, "invoke_workflow", {"dify.invoke_from": "debugger"} | triggered)


def debugged_chat(stage: Stage) -> list[str]:
    app = stage.console.basic("debugged", "chat")
    case = Case("debugged", "stream", "ok", ("dify.app", MODEL), top="POST /console/api/")
    body = {"inputs": {}, "query": QUERY, "response_mode": "streaming", "model_config": console.configuration()}
    spans, found = _debug(stage, case, f"/apps/{app.id}/chat-messages", body)
    account = _account(stage)
    message = {"dify.message.from_source": "console", "dify.message.from_account_id": account["user.id"]}
    return found + _has(spans, "dify.app", account | message)


_UPLOADS = {
    "enabled": True,
    "number_limits": 3,
    "allowed_file_types": ["document"],
    "allowed_file_extensions": [".txt"],
    "allowed_file_upload_methods": ["local_file"],
}


def _with_a_file(stage: Stage, app: Application, case: Case) -> tuple[list[Span], list[str]]:
    body, kind = console.form("notes.txt", "Cats sleep.", user=USER)
    _, upload = stage.send("POST", "/v1/files/upload", body, app.key, kind)
    file = {"type": "document", "transfer_method": "local_file", "upload_file_id": upload["id"]}
    spans, found = stage.judge(case, stage.call(app, case, files=[file]))
    message = {"file_count": 1, "file.id": [upload["id"]], "file.type": ["document"]}
    message |= {"file.transfer_method": ["local_file"], "file.belongs_to": "user", "file.created_by_role": "end_user"}
    return spans, found + _has(spans, "dify.app", {"dify.message." + name: value for name, value in message.items()})


def chatflow_with_a_file(stage: Stage) -> list[str]:
    graph = graphs.chat_graph()
    app = stage.console.workflow("chatflow-file", "advanced-chat", graph, file_upload=_UPLOADS)
    case = Case("chatflow-file", "stream", "ok", (*RUN, "llm LLM", MODEL))
    spans, found = _with_a_file(stage, app, case)
    run = {"dify.workflow.file_count": 1, "dify.workflow.file_types": ["document"]}
    return found + _has(spans, "invoke_workflow", run)


def chat_with_a_file(stage: Stage) -> list[str]:
    app = stage.console.basic("chat-file", "chat", file_upload=_UPLOADS)
    return _with_a_file(stage, app, Case("chat-file", "block", "ok", ("dify.app", MODEL)))[1]


def indexing(stage: Stage) -> list[str]:
    if not stage.vectors:
        raise Lacking("no PostgreSQL with pgvector: install postgresql-<version>-pgvector or set DIFY_PGVECTOR_BIN")
    since = time.time_ns()
    dataset = stage.console.dataset([f"Fact {uuid.uuid4()} is new." for _ in range(3)])
    runs = stage.receiver.await_spans(lambda s: s.name.startswith("dataset_indexing") and s.start_ns >= since)
    if not runs:
        return ["no dataset_indexing span"]
    # What is new is embedded; what Dify has embedded before comes out of its own table.
    case = Case("dataset", "block", "", ("dataset_indexing run", "embeddings"), top="POST /console/api/datasets/init")
    spans, found = stage.judge(case, Outcome("dataset", trace_id=runs[0].trace_id))
    counts = {"dify.indexing.document_count": 1, "dify.indexing.segment_count": 3, "dify.indexing.stage": "run"}
    return found + _has(spans, "dataset_indexing", {"dify.dataset.id": dataset, **counts})


def _form(mode: str) -> graphs.Graph:
    human = graphs.node(
        "human",
        "human-input",
        "Approve",
        delivery_methods=[{"type": "webapp", "enabled": True, "id": str(uuid.uuid4()), "config": {}}],
        form_content="Is it so? {{#$output.comment#}}",
        inputs=[{"type": "paragraph", "output_variable_name": "comment"}],
        user_actions=[{"id": "approve", "title": "Approve", "button_style": "primary"}],
        timeout=1,
        timeout_unit="hour",
    )
    last = graphs.end(out=["llm", "text"]) if mode == "workflow" else graphs.answer("{{#llm.text#}}")
    nodes = [graphs.start("query"), human, graphs.llm("llm", "LLM", "{{#human.comment#}}"), last]
    return graphs.graph(nodes, ("start", "human"), ("human", "llm", "approve"), ("llm", last["id"]))


@dataclass(frozen=True)
class Answered:
    """A run that waited for a person and went on, as Dify tells of it."""

    paused: Outcome
    form_id: str
    trace_id: str
    """Of the request that brought the answer."""
    status: str


def answered(stage: Stage, mode: str) -> Answered:
    """Starts such a run, and answers the form. Raises `Lacking`; `RuntimeError` when nobody was asked."""
    stage.needs("/api/form/human_input/none")
    app = stage.console.workflow("human", mode, _form(mode))
    parent, trace_id = drive.traceparent()
    body = {"inputs": {"query": QUERY}, "query": QUERY, "user": USER, "response_mode": "streaming"}
    headers = {"Authorization": f"Bearer {app.key}", "Content-Type": "application/json", "traceparent": parent}
    path = drive._PATHS.get(mode, "/v1/chat-messages")
    asked = urllib.request.Request(stage.base + path, json.dumps(body).encode(), headers)
    outcome, text = _streamed(urllib.request.urlopen(asked, timeout=WORKER_SECONDS), "human", trace_id)
    token, form = (re.search(rf'"{name}": ?"([^"]+)"', text) for name in ("form_token", "form_id"))
    if token is None or form is None:
        raise RuntimeError(f"nobody was asked: {outcome}")
    time.sleep(PERSON_SECONDS)
    answer = {"inputs": {"comment": "It is."}, "action": "approve"}
    later, _ = stage.send("POST", f"/api/form/human_input/{token[1]}", answer)
    until = time.monotonic() + WORKER_SECONDS
    while True:
        _, record = stage.send("GET", f"/v1/workflows/run/{outcome.ids['workflow_run_id']}", None, app.key)
        if record["status"] not in ("paused", "running") or time.monotonic() > until:
            return Answered(outcome, form[1], later, record["status"])
        time.sleep(0.5)


def workflow_waits_for_a_person(stage: Stage) -> list[str]:
    return _waits(stage, "workflow")


def chatflow_waits_for_a_person(stage: Stage) -> list[str]:
    return _waits(stage, "advanced-chat")


def _waits(stage: Stage, mode: str) -> list[str]:
    stage.receiver.metrics.clear()
    seen = answered(stage, mode)
    case = Case("human", "stream", "paused", (*RUN, "human-input Approve"))
    spans, found = stage.judge(case, seen.paused)
    paused = next((span for span in spans if span.name.startswith("invoke_workflow")), None)
    found += _has(spans, "human-input", {"dify.node.status": "paused", "dify.human_input.form_id": seen.form_id})
    found += _has(spans, "invoke_workflow", {"dify.workflow.status": "paused"})
    found += _has(spans, "dify.app", {"dify.app.outcome": "paused", "dify.workflow.status": "paused"})

    after = ("llm LLM", MODEL) if stage.goes_on[mode] == "succeeded" else ()
    case = Case("human", "form", stage.goes_on[mode], (*RUN, "human-input Approve", *after), top="POST /api/form/")
    resumed = stage.run_of(seen.trace_id)
    spans, more = stage.judge(case, Outcome("resumed", status=seen.status, trace_id=seen.trace_id))
    if paused is None or resumed is None:
        return [*found, *more]
    run = {"dify.workflow.run_id": seen.paused.ids["workflow_run_id"], "dify.workflow.status": seen.status}
    found += more + _has(spans, "invoke_workflow", {"dify.workflow.resumed": True, **run})
    found += _has(spans, "human-input", {"dify.node.status": "succeeded"})
    if [(link.trace_id, link.span_id) for link in resumed.links] != [(paused.trace_id, paused.span_id)]:
        found.append(f"the run that went on links to {resumed.links}, not to {paused.trace_id} {paused.span_id}")
    waited = resumed.attributes.get("dify.human_input.wait_time")
    if not isinstance(waited, float) or not PERSON_SECONDS <= waited <= (resumed.end_ns - paused.start_ns) / 1e9:
        found.append(f"it waited {waited!r} s")
    if not stage.receiver.await_metric("dify.human_input.wait.duration"):
        found.append("the wait was not measured")
    return found


def webhook(stage: Stage) -> list[str]:
    stage.needs(f"/console/api/apps/{uuid.uuid4()}/triggers")
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
    nodes = [hook, graphs.llm("llm", "LLM", "{{#hook.query#}}"), graphs.end(out=["llm", "text"])]
    graph = graphs.graph(nodes, ("hook", "llm"), ("llm", "end"))
    app = stage.console.workflow("hooked", "workflow", graph)
    address = stage.console.request("GET", f"/apps/{app.id}/workflows/triggers/webhook?node_id=hook")["webhook_id"]
    trace_id, _ = stage.send("POST", f"/triggers/webhook/{address}", {"query": QUERY})
    run = stage.run_of(trace_id)
    kinds = ("trigger webhook", *RUN, "llm LLM", MODEL)
    case = Case("hooked", "hook", "succeeded", kinds, top="POST /triggers/webhook")
    status = str(run.attributes.get("dify.workflow.status")) if run else "no run"
    spans, found = stage.judge(case, Outcome("hooked", status=status, trace_id=trace_id))
    trigger = {"dify.trigger.type": "webhook", "dify.trigger.node_id": "hook", "dify.app_id": app.id}
    found += _has(spans, "trigger webhook", trigger)
    for name in RUN:
        found += _has(spans, name, {"dify.triggered_from": "webhook", "dify.app_id": app.id}, every=True)
    return found + _below(spans, "invoke_workflow", "trigger webhook")


def _below(spans: Sequence[Span], name: str, wanted: str) -> list[str]:
    by_id = {span.span_id: span for span in spans}
    lines = [judgement.above(span, by_id) for span in spans if span.name.startswith(name)]
    right = lines and all(any(s.name.startswith(wanted) for s in line) for line in lines)
    return [] if right else [f"{name!r} is not below {wanted!r}: {[[s.name for s in line] for line in lines]}"]


def questions_and_name(stage: Stage) -> list[str]:
    app = stage.console.basic("asking", "chat", suggested_questions_after_answer={"enabled": True})
    case = Case("asking", "stream", "ok", ("dify.app", MODEL))
    outcome = stage.call(app, case)
    spans, found = stage.judge(case, outcome)
    run = next((span for span in spans if span.name.startswith("dify.app")), None)
    message, conversation = outcome.ids["message_id"], outcome.ids["conversation_id"]
    trace_id, answer = stage.send("GET", f"/v1/messages/{message}/suggested?user={USER}", None, app.key)
    case = Case("asking", "get", "ok", ("suggested_questions", MODEL), top="GET /v1/messages/")
    spans, more = stage.judge(case, Outcome("suggested", status="ok", trace_id=trace_id))
    asked = {"dify.message.id": message, "dify.suggested_question.count": len(answer["data"])}
    found += more + _has(spans, "suggested_questions", asked)
    if len(answer["data"]) != 2:
        found.append(f"Dify suggests {answer}")
    links = [link.span_id for span in spans if span.name.startswith("suggested_questions") for link in span.links]
    if run is None or links != [run.span_id]:
        found.append(f"the questions link to {links}, the run is {run and run.span_id}")
    body = {"auto_generate": True, "user": USER}
    trace_id, _ = stage.send("POST", f"/v1/conversations/{conversation}/name", body, app.key)
    case = Case("asking", "name", "ok", ("conversation_name", MODEL), top="POST /v1/conversations/")
    spans, more = stage.judge(case, Outcome("name", status="ok", trace_id=trace_id))
    return found + more + _has(spans, "conversation_name", {"gen_ai.conversation.id": conversation})


def nested_workflow(stage: Stage) -> list[str]:
    inner = stage.console.workflow("inner", "workflow", graphs.model_graph("stub-chat"))
    described = {
        **dict.fromkeys(("name", "label", "description"), "nested"),
        "workflow_app_id": inner.id,
        "icon": {"content": "A", "background": "#FFEAD5"},
        "parameters": [{"name": "query", "description": "what is asked", "form": "llm"}],
        "labels": [],
    }
    tools = "/workspaces/current/tool-provider/workflow"
    stage.console.request("POST", f"{tools}/create", described)
    tool = stage.console.request("GET", f"{tools}/get?workflow_app_id={inner.id}")["workflow_tool_id"]
    app = stage.console.workflow("outer", "workflow", graphs.workflow_tool_graph(tool))
    kinds = (*RUN, "tool Nested workflow", "execute_tool nested", "dify.app inner", "invoke_workflow inner", MODEL)
    case = Case("outer", "stream", "succeeded", kinds)
    outcome = stage.call(app, case)
    # The caller is told of the outer workflow's nodes only.
    spans, found = stage.judge(case, replace(outcome, events=Counter()))
    caller = {"dify.parent.workflow.run_id": outcome.ids["workflow_run_id"], "dify.parent.app_id": app.id}
    found += _has(spans, "dify.app inner", caller)
    return found + _below(spans, "invoke_workflow inner", "execute_tool nested")


KINDS: Mapping[str, Callable[[Stage], list[str]]] = {
    kind.__name__: kind
    for kind in (
        *(draft_of_a_workflow, debugged_chat, chatflow_with_a_file, chat_with_a_file, indexing),
        *(workflow_waits_for_a_person, chatflow_waits_for_a_person, webhook, questions_and_name, nested_workflow),
    )
}


def stage(base: str, receiver: Receiver, vectors: bool, release: str, goes_on: Mapping[str, str]) -> Stage:
    """Logs the console user in."""
    person = Console(base)
    person.log_in()
    return Stage(base, person, receiver, vectors, calls.absent(release), goes_on)


def alone(stage: Stage) -> dict[str, str]:
    """What `Stage.goes_on` is, seen without us; empty where the release has no such runs."""
    seen = {}
    for mode in ("workflow", "advanced-chat"):
        try:
            seen[mode] = answered(stage, mode).status
        except Lacking:
            continue
        except RuntimeError as error:  # the other calls can be made all the same
            seen[mode] = str(error)
    return seen
