"""An app's run: what a person asked an app for, from the request to the last byte of the answer.

Two seams meet here. `REQUEST` is `AppGenerateService.generate` in the API process; it covers the stream, also when the
run itself executes in a Celery worker (streamed workflow and chatflow runs, Dify 1.13.0 and later). `RUN` is the app
generator, in whichever process runs it; inside a request that nothing has claimed yet it adds its facts to that span.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from . import messages, shapes, workflow
from .core import rules
from .core.operation import Content, Error, Measure, Operation, Tap

_OUTCOMES = {"succeeded": "success", "partial-succeeded": "success", "failed": "error", "stopped": "cancelled"}


def _name(facts: Mapping[str, Any]) -> str:
    return f"dify.app {facts.get('dify.app.name') or facts.get('dify.app_id') or 'unknown'}"


def _user(user: Any) -> Iterator[tuple[str, Any]]:
    if user is None:
        return
    account = shapes.is_account(user)
    internal = shapes.word(shapes.column(user, "id"))
    session = None if account else shapes.word(shapes.column(user, "session_id"))
    yield "user.id", rules.user_id(session, internal)
    yield "dify.user.type", "account" if account else "end_user"
    if session and rules.policy().user_id == "external":
        yield "dify.end_user.session_id", session


def _app(app_model: Any) -> Iterator[tuple[str, Any]]:
    yield "dify.app_id", shapes.word(shapes.column(app_model, "id"))
    yield "dify.tenant_id", shapes.word(shapes.column(app_model, "tenant_id"))
    yield "dify.app.name", shapes.word(shapes.column(app_model, "name"))
    yield "dify.app.mode", shapes.word(shapes.column(app_model, "mode"))


def _turn(query: Any) -> Iterator[tuple[str, Any]]:
    """A person's turn in the convention's words; what an app's form holds besides is no message."""
    if isinstance(query, str) and query and rules.policy().content:
        yield "gen_ai.input.messages", Content(messages.said("user", query))


def _answer(call: Any, text: Any) -> Iterator[tuple[str, Any]]:
    yield "dify.app.outputs", Content(text)
    if isinstance(text, str) and text and call.state.get("asked") and rules.policy().content:
        yield "gen_ai.output.messages", Content(messages.said("assistant", text))


RECENT_MAX = 1024
"""Messages whose app spans a process remembers, for what is asked about them later."""

_recent: dict[str, str] = {}


def recent(message_id: str | None) -> str | None:
    """The span of the run that made a message, in W3C form, where this process has seen it lately."""
    return _recent.get(message_id) if message_id else None


def _remember(call: Any, message_id: str | None) -> None:
    span = None if call.muted else call.traceparent
    if message_id and span:
        _recent[message_id] = span
        while len(_recent) > RECENT_MAX:
            _recent.pop(next(iter(_recent)), None)


_GRAPHS = frozenset({"workflow", "advanced-chat"})


def _request_before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
    app_model = arguments.get("app_model")
    yield from _app(app_model)
    yield from _user(arguments.get("user"))
    streaming = bool(arguments.get("streaming", True))
    yield "dify.streaming", streaming
    invoke_from = shapes.word(arguments.get("invoke_from"))
    yield "dify.invoke_from", invoke_from
    if shapes.word(shapes.column(app_model, "mode")) in _GRAPHS:
        yield "dify.triggered_from", "debugging" if invoke_from == "debugger" else "app-run"
    args = arguments.get("args")
    if isinstance(args, Mapping):
        yield "dify.trace_session_id", shapes.word(args.get("trace_session_id"))
        yield "gen_ai.conversation.id", shapes.word(args.get("conversation_id") or None)
        yield "dify.app.inputs", Content({"inputs": args.get("inputs"), "query": args.get("query")})
        yield from _turn(args.get("query"))


def _opened(call: Any, arguments: Mapping[str, Any]) -> None:
    app_model = arguments.get("app_model")
    call.state["mode"] = shapes.word(shapes.column(app_model, "mode"))
    call.state["invoke_from"] = shapes.word(arguments.get("invoke_from"))
    call.state["streaming"] = bool(arguments.get("streaming", True))
    call.state["name"] = shapes.word(shapes.column(app_model, "name"))
    call.state["description"] = shapes.word(shapes.column(app_model, "description")) or None
    _note_query(call, arguments)
    call.tell([Measure("dify.app.active_requests", 1, {"dify.app.mode": call.state["mode"]})])


def _note_query(call: Any, arguments: Mapping[str, Any]) -> None:
    args = arguments.get("args")
    if isinstance(args, Mapping) and args.get("query"):
        call.state["asked"] = True


_LAST = frozenset({"workflow_finished", "workflow_paused", "message_end", "error"})
_ANSWER_KEPT = 65_536


def _request_during(call: Any, item: Any) -> None:
    name = shapes.sse_name(item)
    if name is None:
        return
    if name in shapes.SSE_CHUNKS:
        call.note_chunk()
        if rules.policy().content and name != "agent_thought":
            _keep_answer(call, item)
        if "ids" in call.state:
            return
    elif name == "message_replace":
        # What moderation does not let out was shown for a moment, and is no answer.
        if rules.policy().content:
            call.state.update(answer=[], answer_size=0)
            _keep_answer(call, item)
        if "ids" in call.state:
            return
    elif name not in shapes.SSE_EVENTS_READ and "ids" in call.state:
        return
    body = shapes.sse_body(item)
    _ids(call, body)
    call.state["complete"] = name in _LAST
    if name == "workflow_started":
        call.tell([("dify.workflow.id", shapes.word(shapes.column(body.get("data"), "workflow_id")))])
    elif name == "workflow_finished":
        data = body.get("data") or {}
        _outcome(call, data.get("status"), data.get("error"))
        call.tell([("dify.app.outputs", Content(data.get("outputs")))])
    elif name == "workflow_paused":
        _outcome(call, "paused", None)
    elif name == "error":
        call.state["outcome"] = "error"
        if not call.failed:
            call.error(Error(shapes.word(body.get("code")) or "error", shapes.word(body.get("message"))))
    elif name == "message_end":
        _message_end(call, body)


def _keep_answer(call: Any, item: Any) -> None:
    kept = call.state.setdefault("answer", [])
    size = call.state.get("answer_size", 0)
    if size < _ANSWER_KEPT:
        body = shapes.sse_body(item)
        data = body.get("data")
        text = body.get("answer") or (data.get("text") if isinstance(data, Mapping) else None) or ""
        kept.append(text)
        call.state["answer_size"] = size + len(text)


def _ids(call: Any, body: Mapping[str, Any]) -> None:
    if "ids" in call.state:
        return
    run_id, message_id = body.get("workflow_run_id"), body.get("message_id")
    conversation_id = body.get("conversation_id")
    if run_id or message_id or conversation_id:
        call.state["ids"] = True
        _remember(call, shapes.word(message_id))
        call.tell(
            [
                ("dify.workflow.run_id", shapes.word(run_id)),
                ("dify.message.id", shapes.word(message_id)),
                ("gen_ai.conversation.id", shapes.word(conversation_id)),
                ("dify.task_id", shapes.word(body.get("task_id"))),
            ]
        )


def _message_end(call: Any, body: Mapping[str, Any]) -> None:
    call.state["answered"] = True
    metadata = body.get("metadata")
    usage = metadata.get("usage") if isinstance(metadata, Mapping) else None
    if isinstance(usage, Mapping) and usage.get("total_tokens"):
        call.tell(
            [
                ("dify.message.tokens", usage.get("prompt_tokens")),
                ("dify.message.answer_tokens", usage.get("completion_tokens")),
                ("dify.message.total_tokens", usage.get("total_tokens")),
            ]
        )


def _outcome(call: Any, status: Any, error: Any) -> None:
    status = shapes.word(status)
    # A chatflow that moderation or an annotation answers starts no run. Its stream lacks the event that Dify's relay
    # ends with, so Dify makes one up, behind the end of a message that is as it should be: "failed".
    if status is None or (status == "failed" and call.state.get("answered")):
        return
    call.state["outcome"] = _OUTCOMES.get(status, status)
    call.tell([("dify.workflow.status", status)])
    if status == "failed" and not call.failed:
        call.error(Error("workflow_failed", shapes.word(error)))


def _request_after(call: Any, result: Any) -> Iterator[Any]:
    if isinstance(result, Mapping):
        _blocking(call, result)
    state = call.state
    first = call.chunk()
    if first is not None:
        yield "dify.app.time_to_first_chunk", round(first, 6)
    if state.get("answer"):
        yield from _answer(call, "".join(state["answer"]))
    yield "dify.workflow.app_log_id", shapes.word(shapes.column(state.get("app_log"), "id"))
    cancelled = bool(state.get("cancelled"))
    if cancelled:
        yield "dify.app.client_disconnected", True
    outcome = "cancelled" if cancelled else "error" if call.failed else state.get("outcome", "success")
    labels = {"dify.app.mode": state.get("mode"), "dify.streaming": state.get("streaming")}
    yield "dify.app.outcome", outcome
    yield Measure("dify.app.active_requests", -1, {"dify.app.mode": state.get("mode")})
    yield Measure("dify.app.requests", 1, {**labels, "dify.invoke_from": state.get("invoke_from"), "outcome": outcome})
    yield Measure("dify.app.request.duration", call.elapsed(), {**labels, "outcome": outcome})
    if first is not None:
        yield Measure("dify.app.time_to_first_chunk", first, {"dify.app.mode": state.get("mode")})


def _blocking(call: Any, result: Mapping[str, Any]) -> None:
    _ids(call, result)
    data = result.get("data")
    if isinstance(data, Mapping):
        _outcome(call, data.get("status"), data.get("error"))
        call.tell([("dify.workflow.id", shapes.word(data.get("workflow_id")))])
        call.tell([("dify.app.outputs", Content(data.get("outputs")))])
    elif "answer" in result:
        call.tell(_answer(call, result.get("answer")))
        _message_end(call, result)


def _pipeline_before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
    """A published pipeline's runs happen in the worker, one for each document; this is what asked for them."""
    pipeline = arguments.get("pipeline")
    yield "dify.app_id", shapes.word(shapes.column(pipeline, "id"))
    yield "dify.tenant_id", shapes.word(shapes.column(pipeline, "tenant_id"))
    yield "dify.app.name", shapes.word(shapes.column(pipeline, "name"))
    yield "dify.app.mode", "rag-pipeline"
    yield from _user(arguments.get("user"))
    invoke_from = shapes.word(arguments.get("invoke_from"))
    yield "dify.invoke_from", invoke_from
    yield "dify.triggered_from", shapes.pipeline_triggered_from(invoke_from)
    args = arguments.get("args")
    if isinstance(args, Mapping):
        asked = args.get("datasource_info_list")
        yield "dify.indexing.document_count", len(asked) if isinstance(asked, list | tuple) else None
        yield "dify.app.inputs", Content({"inputs": args.get("inputs"), "datasource_info_list": asked})


def _pipeline_opened(call: Any, arguments: Mapping[str, Any]) -> None:
    call.state["name"] = shapes.word(shapes.column(arguments.get("pipeline"), "name"))
    call.state["mode"] = "rag-pipeline"
    call.state["invoke_from"] = shapes.word(arguments.get("invoke_from"))
    call.state["streaming"] = bool(arguments.get("streaming", True))
    call.tell([Measure("dify.app.active_requests", 1, {"dify.app.mode": "rag-pipeline"})])


def _pipeline_after(call: Any, result: Any) -> Iterator[Any]:
    if isinstance(result, Mapping) and result.get("batch"):
        yield "dify.indexing.batch", shapes.word(result["batch"])
        dataset, documents = result.get("dataset"), result.get("documents")
        if isinstance(dataset, Mapping):
            yield "dify.dataset.id", shapes.word(dataset.get("id"))
        if isinstance(documents, list):
            ids = [shapes.word(row.get("id")) for row in documents[:64] if isinstance(row, Mapping)]
            yield "dify.document.ids", [i for i in ids if i] or None
    yield from _request_after(call, result)


PIPELINE_REQUEST = Operation(
    concept="app",
    name=_name,
    before=_pipeline_before,
    during=_request_during,
    after=_pipeline_after,
    opened=_pipeline_opened,
    span_kind="ENTRY",
)

REQUEST = Operation(
    concept="app",
    name=_name,
    before=_request_before,
    during=_request_during,
    after=_request_after,
    opened=_opened,
    span_kind="ENTRY",
    stream="generator",
)


def _run_before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
    app_model = arguments.get("app_model") or arguments.get("pipeline")
    entity = arguments.get("application_generate_entity")
    if app_model is not None:
        yield from _app(app_model)
    yield from _user(arguments.get("user"))
    streaming = arguments.get("streaming", getattr(entity, "stream", None))
    if streaming is not None:
        yield "dify.streaming", bool(streaming)
    invoke_from = arguments.get("invoke_from") or getattr(entity, "invoke_from", None)
    yield "dify.invoke_from", shapes.word(invoke_from)
    triggered = arguments.get("triggered_from")
    if triggered is not None:
        yield "dify.triggered_from", shapes.word(triggered)
    run_id = arguments.get("workflow_run_id") or shapes.first(entity, "workflow_execution_id", "workflow_run_id")
    yield "dify.workflow.run_id", shapes.word(run_id)
    args = arguments.get("args")
    if isinstance(args, Mapping):
        yield "dify.trace_session_id", shapes.word(args.get("trace_session_id"))
        yield "gen_ai.conversation.id", shapes.word(args.get("conversation_id") or None)
        yield "dify.app.inputs", Content({"inputs": args.get("inputs"), "query": args.get("query")})
        yield from _turn(args.get("query"))
    if enclosing is not None:
        outer = enclosing.nearest("workflow") or enclosing.nearest("agent")
        if outer is not None:
            yield "dify.parent.workflow.run_id", outer.inherited.get("dify.workflow.run_id")
            yield "dify.parent.app_id", outer.inherited.get("dify.app_id")
            caller = enclosing.nearest("node")
            yield "dify.parent.node.execution_id", caller.fact("dify.node.execution_id") if caller is not None else None


def _claims(call: Any) -> bool:
    if call.state.get("claimed"):
        return False
    call.state["claimed"] = True
    return True


def _run_opened(call: Any, arguments: Mapping[str, Any]) -> None:
    call.state["claimed"] = True
    triggered = arguments.get("triggered_from")
    if triggered is not None:
        call.state["triggered_from"] = shapes.word(triggered)
    app_model = arguments.get("app_model") or arguments.get("pipeline")
    call.state.setdefault("mode", shapes.word(shapes.column(app_model, "mode")))
    call.state.setdefault("name", shapes.word(shapes.column(app_model, "name")))
    _note_query(call, arguments)
    call.state.setdefault("description", shapes.word(shapes.column(app_model, "description")) or None)


def _run_after(call: Any, result: Any) -> Iterator[Any]:
    if isinstance(result, Mapping):
        _blocking(call, result)
    yield "dify.workflow.app_log_id", shapes.word(shapes.column(call.state.get("app_log"), "id"))
    first = call.chunk()
    if first is not None:
        yield "dify.app.time_to_first_chunk", round(first, 6)


def _run_during(call: Any, item: Any) -> None:
    # Generators of generators: the run's own stream carries mappings, not yet SSE text.
    if isinstance(item, Mapping):
        _request_during(call, item)


RUN = Operation(
    concept="app",
    name=_name,
    before=_run_before,
    during=_run_during,
    after=_run_after,
    opened=_run_opened,
    span_kind="CHAIN",
    merge=True,
    claims=_claims,
)


def _pipeline_run_before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
    yield from _run_before(arguments, enclosing)
    yield "dify.app.mode", "rag-pipeline"
    yield "dify.triggered_from", shapes.pipeline_triggered_from(shapes.word(arguments.get("invoke_from")))


def _pipeline_run_opened(call: Any, arguments: Mapping[str, Any]) -> None:
    call.state.setdefault("mode", "rag-pipeline")
    _run_opened(call, arguments)
    if call.operation is PIPELINE_RUN:
        # The task of a published pipeline reads nothing of the stream it may have asked for.
        call.state["complete"] = True
        extras = getattr(arguments.get("application_generate_entity"), "extras", None)
        if isinstance(extras, dict):
            extras[workflow.APP_NAME] = call.state["name"]
        # Dify's function begins by making the caller's context variables its own, ours among them.
        call.stay_in(arguments.get("context"))


PIPELINE_RUN = replace(RUN, before=_pipeline_run_before, opened=_pipeline_run_opened)


def _records_after(arguments: Mapping[str, Any], result: Any, enclosing: Any) -> None:
    """`MessageBasedAppGenerator._init_generate_records`: the conversation and the message exist from here on."""
    if enclosing is None or not isinstance(result, tuple) or len(result) != 2:
        return
    conversation, message = result
    call = enclosing.nearest("app") or enclosing
    column = shapes.column
    entity = arguments.get("application_generate_entity")
    # The agent app hands its files on as they were sent.
    files = shapes.file_facts(getattr(entity, "files", None)) or shapes.file_facts(
        getattr(entity, "prompt_file_mappings", None)
    )
    end_user = shapes.word(column(message, "from_end_user_id"))
    account = shapes.word(column(message, "from_account_id"))
    if files:
        call.tell(
            [
                ("dify.message.file.belongs_to", "user"),
                ("dify.message.file.created_by_role", "account" if account else "end_user"),
                ("dify.message.file.created_by", rules.person(account or end_user)),
            ]
        )
    call.state["ids"] = True
    _remember(call, shapes.word(column(message, "id")))
    call.tell(
        [
            ("gen_ai.conversation.id", shapes.word(column(conversation, "id"))),
            ("dify.conversation.mode", shapes.word(column(conversation, "mode"))),
            ("dify.message.id", shapes.word(column(message, "id"))),
            ("dify.message.from_source", shapes.word(column(message, "from_source"))),
            ("dify.message.from_end_user_id", rules.person(end_user)),
            ("dify.message.from_account_id", rules.person(account)),
            ("dify.message.parent_id", shapes.word(column(message, "parent_message_id"))),
            ("dify.message.file_count", len(files)),
            ("dify.message.file.id", [f["id"] for f in files]),
            ("dify.message.file.type", [f["type"] for f in files]),
            ("dify.message.file.transfer_method", [f["transfer_method"] for f in files]),
            ("dify.message.files", Content(files) if files else None),
        ]
    )


RECORDS = Tap(after=_records_after)
