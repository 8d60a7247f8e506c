"""A workflow run: the graph of a workflow, chatflow or RAG pipeline, in the thread that drives the engine.

`Runner.run` encloses the engine's construction, so the engine's own threads inherit this span as their parent. Its
outcome does not arrive as an exception: the engine turns failures into events, which `EVENTS` reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from time import time
from typing import Any

from . import messages, node, shapes
from .core import rules
from .core.operation import Content, Error, Measure, Operation, Tap

RESUMES = "dify_otel_traceparent"
"""Key in the run's `extras`, which Dify persists with a paused run: the span that the resumed run links to."""
STARTED_BY = "dify_otel_started_by"
"""The same for a run that is queued for later: the request's span."""
PAUSED_AT = "dify_otel_paused_at"
"""When a run began to wait for a person, in seconds since 1970: it may go on days later in another process."""
APP_NAME = "dify_otel_app_name"
"""The app's name, where its span may have ended before the run begins: nobody reads a published pipeline's stream."""


def _before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
    runner = arguments.get("self")
    entity = getattr(runner, "application_generate_entity", None)
    config = getattr(entity, "app_config", None)
    workflow = getattr(runner, "_workflow", None)
    yield "gen_ai.operation.name", "invoke_workflow"
    app = enclosing.nearest("app") if enclosing is not None else None
    extras = getattr(entity, "extras", None)
    named = extras.get(APP_NAME) if isinstance(extras, dict) else None
    yield "gen_ai.workflow.name", (app.state.get("name") if app is not None else None) or named
    yield "dify.app_id", shapes.word(getattr(config, "app_id", None))
    yield "dify.tenant_id", shapes.word(getattr(config, "tenant_id", None))
    workflow_id = shapes.column(workflow, "id") or getattr(config, "workflow_id", None)
    yield "dify.workflow.id", shapes.word(workflow_id)
    yield "dify.workflow.version", shapes.word(shapes.column(workflow, "version"))
    run_id = shapes.first(entity, "workflow_execution_id", "workflow_run_id")
    yield "dify.workflow.run_id", shapes.word(run_id)
    yield "gen_ai.conversation.id", shapes.word(getattr(getattr(runner, "conversation", None), "id", None))
    yield "dify.message.id", shapes.word(shapes.column(getattr(runner, "message", None), "id"))
    invoke_from = shapes.word(getattr(entity, "invoke_from", None))
    yield "dify.invoke_from", invoke_from
    triggered = app.state.get("triggered_from") if app is not None else None
    yield "dify.triggered_from", triggered or _triggered_from(entity, invoke_from)
    if _is_pipeline(runner):
        yield "dify.dataset.id", shapes.word(getattr(entity, "dataset_id", None))
        document = shapes.word(getattr(entity, "document_id", None))
        yield "dify.document.ids", [document] if document else None
        yield "dify.indexing.batch", shapes.word(getattr(entity, "batch", None))
    depth = getattr(entity, "call_depth", None)
    if depth:
        yield "dify.workflow.call_depth", depth
    if isinstance(extras, dict):
        yield "links", [extras[key] for key in (RESUMES, STARTED_BY) if extras.get(key)] or None
        if extras.get(RESUMES):
            yield "dify.workflow.resumed", True
            waited = _waited(extras)
            if waited is not None:
                yield "dify.human_input.wait_time", waited
                yield Measure("dify.human_input.wait.duration", waited, {})
    files = shapes.file_facts(getattr(entity, "files", None))
    yield "dify.workflow.file_count", len(files)
    if files:
        yield "dify.workflow.file_types", sorted({f["type"] for f in files if f["type"]})
        yield "dify.workflow.files", Content(files)
    inputs = getattr(entity, "inputs", None)
    yield "dify.workflow.inputs", Content(inputs)
    query = getattr(entity, "query", None) or (inputs.get("query") if isinstance(inputs, Mapping) else None)
    if query:
        yield "dify.workflow.query", Content(query)
        if _is_chat(runner) and isinstance(query, str) and rules.policy().content:
            yield "gen_ai.input.messages", Content(messages.said("user", query))


def _is_chat(runner: Any) -> bool:
    return getattr(runner, "conversation", None) is not None


def _is_pipeline(runner: Any) -> bool:
    return getattr(getattr(runner, "application_generate_entity", None), "pipeline_config", None) is not None


def _triggered_from(entity: Any, invoke_from: str | None) -> str:
    """As Dify's own run record has it, which nothing here is handed."""
    if getattr(entity, "pipeline_config", None) is not None:
        return shapes.pipeline_triggered_from(invoke_from)
    return "debugging" if invoke_from == "debugger" else "app-run"


def _waited(extras: Mapping[str, Any]) -> float | None:
    since = extras.get(PAUSED_AT)
    return round(max(0.0, time() - since), 3) if isinstance(since, float) else None


def _name(facts: Mapping[str, Any]) -> str:
    return f"invoke_workflow {facts.get('gen_ai.workflow.name') or facts.get('dify.app_id') or ''}".rstrip()


def _opened(call: Any, arguments: Mapping[str, Any]) -> None:
    call.state["triggered_from"] = call.fact("dify.triggered_from")
    extras = getattr(getattr(arguments.get("self"), "application_generate_entity", None), "extras", None)
    if isinstance(extras, dict):
        extras[RESUMES] = call.traceparent
        extras.pop(STARTED_BY, None)
        extras.pop(PAUSED_AT, None)
        extras.pop(APP_NAME, None)
        call.state["extras"] = extras
    call.state["chat"] = _is_chat(arguments.get("self"))
    app = call.nearest("app")
    if app is not None:
        app.tell(
            (name, call.fact(name)) for name in ("dify.workflow.id", "dify.workflow.run_id", "dify.triggered_from")
        )
    mode = app.state.get("mode") if app is not None else None
    call.state["mode"] = mode or ("rag-pipeline" if _is_pipeline(arguments.get("self")) else None)
    call.tell([Measure("dify.workflow.active_runs", 1, {"dify.app.mode": call.state["mode"]})])


def _after(call: Any, result: Any) -> Iterator[Any]:
    state = call.state
    # Until 1.8.1 a user's stop is an exception that passes through `run`.
    stopped = call.failed == "GenerateTaskStoppedError"
    if stopped:
        call.clear_error()
    status = state.get("status") or ("stopped" if stopped else "failed" if call.failed else None)
    node.abandon(state.get("suspended", {}), status)
    yield "dify.workflow.status", status
    yield "dify.workflow.elapsed_time", round(call.elapsed(), 6)
    app = call.nearest("app")
    if app is not None:
        yield "dify.workflow.app_log_id", shapes.word(shapes.column(app.state.get("app_log"), "id"))
    labels = {"dify.workflow.status": status, "dify.triggered_from": state.get("triggered_from")}
    yield Measure("dify.workflow.active_runs", -1, {"dify.app.mode": state.get("mode")})
    yield Measure("dify.workflow.duration", call.elapsed(), labels)
    labels = {"gen_ai.operation.name": "invoke_workflow", "error.type": call.failed}
    yield Measure("gen_ai.invoke_workflow.duration", call.elapsed(), labels)
    if state.get("steps") is not None:
        yield Measure("dify.workflow.steps", state["steps"], {"dify.workflow.status": status})
    if status == "paused":
        yield Measure("dify.workflow.pauses", 1, {})


RUN = Operation(
    concept="workflow",
    name=_name,
    before=_before,
    after=_after,
    opened=_opened,
    span_kind="CHAIN",
)

_TERMINAL = {
    "GraphRunSucceededEvent": "succeeded",
    "GraphRunPartialSucceededEvent": "partial-succeeded",
    "GraphRunFailedEvent": "failed",
    "GraphRunAbortedEvent": "stopped",
    "GraphRunPausedEvent": "paused",
}


def _terminal(args: tuple[Any, ...]) -> bool:
    return type(args[-1]).__name__ in _TERMINAL if args else True


def _event(arguments: Mapping[str, Any], enclosing: Any) -> None:
    """`WorkflowBasedAppRunner._handle_event`: called for every engine event; only the last one of a run matters."""
    event = arguments.get("event")
    status = _TERMINAL.get(type(event).__name__)
    call = enclosing.nearest("workflow") if enclosing is not None else None
    if status is None or call is None:
        return
    call.state["status"] = status
    engine = getattr(arguments.get("workflow_entry"), "graph_engine", None)
    state = shapes.first(engine, "runtime_state", "graph_runtime_state")
    outputs = getattr(event, "outputs", None)
    facts: list[tuple[str, Any]] = [
        ("dify.workflow.exceptions_count", getattr(event, "exceptions_count", None)),
        ("dify.workflow.outputs", Content(outputs) if outputs else None),
    ]
    answer = outputs.get("answer") if call.state.get("chat") and isinstance(outputs, Mapping) else None
    if isinstance(answer, str) and answer and rules.policy().content:
        facts.append(("gen_ai.output.messages", Content(messages.said("assistant", answer))))
    if state is not None:
        steps = getattr(state, "node_run_steps", None)
        call.state["steps"] = steps
        usage = getattr(state, "llm_usage", None)
        facts += [
            ("dify.workflow.total_tokens", getattr(state, "total_tokens", None)),
            ("dify.workflow.steps", steps),
            ("dify.workflow.prompt_tokens", getattr(usage, "prompt_tokens", None)),
            ("dify.workflow.completion_tokens", getattr(usage, "completion_tokens", None)),
        ]
        price = shapes.number(getattr(usage, "total_price", None))
        if price:
            facts += [
                ("dify.workflow.total_price", price),
                ("dify.workflow.currency", shapes.word(getattr(usage, "currency", None))),
            ]
    if status == "failed":
        text = shapes.word(getattr(event, "error", None))
        call.state["error_text"] = text
        cause = Error(call.state.get("node_error") or "workflow_failed", text)
        call.error(cause)
        # Now, before the consumer hears of it: its answer ends the app's span and does not say why.
        app = call.nearest("app")
        if app is not None:
            app.error(cause)
        facts.append(("dify.workflow.error", Content(text)))
    elif status == "stopped":
        facts.append(("dify.workflow.abort.reason", Content(shapes.word(getattr(event, "reason", None)))))
    call.tell(facts)


EVENTS = Tap(before=_event, only=_terminal)


def _logged(arguments: Mapping[str, Any], result: Any, enclosing: Any) -> None:
    """`_save_workflow_app_log`: the row has been added to the session; its id exists once that is flushed."""
    app = enclosing.nearest("app") if enclosing is not None else None
    if app is None:
        return
    for row in list(getattr(arguments.get("session"), "new", ()))[:64]:
        if type(row).__name__ == "WorkflowAppLog":
            app.state["app_log"] = row


LOGGED = Tap(after=_logged)


def _queued(arguments: Mapping[str, Any], enclosing: Any) -> None:
    """`RagPipelineTaskProxy.delay`: the runs go into a file, and a task runs them, perhaps behind other tenants'."""
    for invoke in list(getattr(arguments.get("self"), "_rag_pipeline_invoke_entities", ()))[:_QUEUED_MAX]:
        entity = getattr(invoke, "application_generate_entity", None)
        if enclosing is None or not isinstance(entity, dict):
            return
        extras = entity.get("extras")
        if isinstance(extras, dict):
            extras[STARTED_BY] = enclosing.traceparent


_QUEUED_MAX = 1000

QUEUED = Tap(before=_queued)
