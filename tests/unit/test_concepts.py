"""What each concept reads from Dify's objects, by small objects of the same shape."""

from __future__ import annotations

import contextvars
import gc
import json
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace as Shape
from typing import Any

import pytest
from dify_otel_instrumentors import (
    agent,
    app,
    generation,
    indexing,
    message,
    moderation,
    node,
    retrieval,
    sandbox,
    shapes,
    tool,
    trigger,
    workflow,
)
from dify_otel_instrumentors.core import context
from dify_otel_instrumentors.core.wrapper import instrument, tap
from opentelemetry import trace
from opentelemetry.trace import StatusCode
from werkzeug.local import LocalProxy

APP = Shape(id="app-1", tenant_id="tenant-1", name="Otters", mode="workflow")
USER = Shape(id="user-1", session_id="ann")


class Account:
    id = "account-1"


def sse(**body: Any) -> str:
    return "data: " + json.dumps(body)


def request(items: Any, **more: Any) -> Any:
    def generate(app_model: Any, user: Any, args: Any, invoke_from: Any, streaming: bool = True) -> Any:
        return (i for i in items) if streaming else items

    return instrument(generate, app.REQUEST)(APP, more.pop("user", USER), {"inputs": {"q": "CANARY"}, **more.pop("args", {})},  # noqa: E501
                                             "service-api", more.pop("streaming", True))  # fmt: skip


def test_a_streamed_request(record: Any) -> None:
    recorded = record(content_on_spans=True)
    items = [sse(event="workflow_started", workflow_run_id="run-1", task_id="t"), sse(event="text_chunk", data={"text": "Hel"}),  # noqa: E501
             sse(event="text_chunk", data={"text": "lo"}), sse(event="workflow_finished", data={"status": "succeeded", "outputs": {"a": 1}})]  # fmt: skip  # noqa: E501
    assert list(request(items)) == items
    told = recorded.span("dify.app Otters")
    assert {
        "dify.app_id": "app-1",
        "dify.tenant_id": "tenant-1",
        "dify.app.mode": "workflow",
        "dify.workflow.run_id": "run-1",
        "user.id": "ann",
        "gen_ai.user.id": "ann",
        "dify.user.type": "end_user",
        "dify.streaming": True,
        "dify.invoke_from": "service-api",
        "dify.app.outcome": "success",
        "dify.workflow.status": "succeeded",
        "dify.app.outputs": "Hello",
        "gen_ai.span.kind": "ENTRY",
    }.items() <= told.attributes.items()
    assert told.attributes["dify.app.time_to_first_chunk"] > 0
    assert [p.value for p in recorded.points("dify.app.active_requests")] == [0]
    (point,) = recorded.points("dify.app.requests")
    assert point.attributes["outcome"] == "success"


def test_an_answer_that_is_replaced(record: Any) -> None:
    recorded = record(content_on_spans=True)
    items = [
        *(sse(event="message", message_id="m", answer=text) for text in ("Some", "thing forbidden")),
        sse(event="message_replace", answer="I may not ", reason="output_moderation"),
        sse(event="message", message_id="m", answer="say."),
        sse(event="message_end", metadata={}),
    ]
    assert list(request(items, args={"query": "What?"})) == items
    told = recorded.span("dify.app Otters").attributes
    assert told["dify.app.outputs"] == "I may not say."
    assert "forbidden" not in repr(dict(told))


@pytest.mark.parametrize(
    ("items", "outcome", "error"),
    [
        ([sse(event="workflow_finished", data={"status": "failed", "error": "CANARY"})], "error", "workflow_failed"),
        ([sse(event="workflow_finished", data={"status": "stopped"})], "cancelled", None),
        ([sse(event="workflow_finished", data={"status": "partial-succeeded"})], "success", None),
        ([sse(event="workflow_paused", data={})], "paused", None),
        # A refused question's run never started: Dify makes its end up behind that of the message.
        (
            [
                sse(event="message", answer="No."),
                sse(event="message_end", metadata={}),
                sse(event="workflow_finished", data={"status": "failed", "error": "CANARY"}),
            ],
            "success",
            None,
        ),
        ([sse(event="error", code="provider_quota_exceeded", message="CANARY")], "error", "provider_quota_exceeded"),
        (
            [
                sse(event="ping"),
                "event: ping\n\n",
                "data: not json",
                "",
                b"bytes",
                None,
                7,
                {"event": "error", "code": "c"},
            ],
            "error",
            "c",
        ),
    ],
)
def test_outcomes_of_a_request(recorded: Any, items: list[Any], outcome: str, error: Any) -> None:
    list(request(items))
    told = recorded.spans[0]
    assert told.attributes["dify.app.outcome"] == outcome
    assert told.attributes.get("error.type") == error
    assert (told.status.status_code is StatusCode.ERROR) is (error is not None)
    assert "CANARY" not in repr(dict(told.attributes)) and told.status.description is None


@pytest.mark.parametrize(
    ("status", "outcome", "error"), [("failed", "error", "workflow_failed"), ("succeeded", "success", None)]
)
def test_a_blocking_request(recorded: Any, status: str, outcome: str, error: Any) -> None:
    body = {"workflow_run_id": "run-1", "data": {"status": status, "error": "CANARY", "outputs": {}}}
    assert request(body, streaming=False) is body
    told = recorded.spans[0]
    assert told.attributes["dify.app.outcome"] == outcome
    assert told.attributes.get("error.type") == error
    assert told.attributes["dify.workflow.run_id"] == "run-1"


def test_a_request_whose_client_leaves(recorded: Any) -> None:
    stream = request([sse(event="ping")] * 3)
    next(stream)
    stream.close()
    facts = recorded.spans[0].attributes
    assert facts["dify.app.outcome"] == "cancelled" and facts["dify.app.client_disconnected"] is True


@pytest.mark.parametrize("hand_over", [lambda account: account, lambda account: LocalProxy(lambda: account)])
def test_an_account_is_told_from_an_end_user(recorded: Any, hand_over: Any) -> None:
    list(request([], user=hand_over(Account())))
    facts = recorded.spans[0].attributes
    assert (facts["user.id"], facts["dify.user.type"]) == ("account-1", "account")


def test_a_run_inside_its_request_leaves_the_span_kind_as_it_is(recorded: Any) -> None:
    def generate(app_model: Any, user: Any, args: Any, invoke_from: Any, streaming: bool = True) -> Any:
        return instrument(lambda app_model, user, args: {}, app.RUN)(app_model, user, args)

    instrument(generate, app.REQUEST)(APP, USER, {"inputs": {}}, "service-api", False)
    (told,) = recorded.spans
    assert told.attributes["gen_ai.span.kind"] == "ENTRY" and "span_kind" not in told.attributes


# --- workflow and node


class GraphRunFailedEvent:
    error = "CANARY"


class GraphRunSucceededEvent:
    outputs = {"answer": "CANARY"}  # noqa: RUF012


class GraphRunPausedEvent:
    pass


def runner(event: Any) -> Any:
    entity = Shape(app_config=Shape(app_id="app-1", tenant_id="t", workflow_id="w-1"), workflow_execution_id="run-1", extras={},  # noqa: E501
                   invoke_from="debugger", inputs={"q": "CANARY"}, files=[], call_depth=2)  # fmt: skip
    handle = tap(lambda self, workflow_entry, event: None, workflow.EVENTS)
    state = Shape(
        total_tokens=12,
        node_run_steps=3,
        llm_usage=Shape(prompt_tokens=7, completion_tokens=5, total_price=0.5, currency="USD"),
    )

    def run(self: Any) -> None:
        handle(self, Shape(graph_engine=Shape(graph_runtime_state=state)), event)

    instrument(run, workflow.RUN)(Shape(application_generate_entity=entity))
    return entity


@pytest.mark.parametrize(
    ("event", "status", "error"),
    [
        (GraphRunSucceededEvent(), "succeeded", None),
        (GraphRunFailedEvent(), "failed", "workflow_failed"),
        (GraphRunPausedEvent(), "paused", None),
    ],
    ids=["succeeded", "failed", "paused"],
)
def test_a_workflow_run(recorded: Any, event: Any, status: str, error: Any) -> None:
    entity = runner(event)
    told = recorded.span("invoke_workflow")
    assert {
        "dify.workflow.run_id": "run-1",
        "dify.workflow.id": "w-1",
        "dify.workflow.status": status,
        "dify.workflow.total_tokens": 12,
        "dify.workflow.steps": 3,
        "dify.workflow.total_price": 0.5,
        "dify.workflow.call_depth": 2,
        "dify.triggered_from": "debugging",
    }.items() <= told.attributes.items()
    assert told.attributes.get("error.type") == error
    assert "CANARY" not in repr(dict(told.attributes))
    assert entity.extras[workflow.RESUMES].split("-")[2] == f"{told.context.span_id:016x}"


def test_a_resumed_run_links_to_the_one_that_paused(recorded: Any) -> None:
    paused = runner(GraphRunPausedEvent()).extras[workflow.RESUMES]
    entity = Shape(extras={workflow.RESUMES: paused}, files=[])
    instrument(lambda self: None, workflow.RUN)(Shape(application_generate_entity=entity))
    first, second = recorded.spans
    assert second.links[0].context.span_id == first.context.span_id
    assert second.attributes["dify.workflow.resumed"] is True


def event(kind: str, **facts: Any) -> Any:
    return type(kind, (), facts)()


def result(**facts: Any) -> Any:
    return Shape(
        **{
            "inputs": {"q": "CANARY"},
            "outputs": {},
            "process_data": {},
            "metadata": {},
            "edge_source_handle": "source",
            **facts,
        }
    )


class Node:
    node_type, title, workflow_id, error_strategy = "llm", "Ask", "w-1", None

    def __init__(self, *events: Any, **more: Any) -> None:
        self.id, self.events, self.graph_runtime_state = "node-1", events, None
        vars(self).update(more)

    def run(self) -> Any:
        yield from self.events


run_node = instrument(Node.run, node.RUN)


@pytest.mark.parametrize(
    ("events", "more", "status", "error"),
    [
        ([event("NodeRunSucceededEvent", node_id="node-1", node_run_result=result())], {}, "succeeded", None),
        (
            [
                event(
                    "NodeRunFailedEvent",
                    node_id="node-1",
                    node_run_result=result(error="CANARY", error_type="InvokeError"),
                )
            ],
            {},
            "failed",
            "InvokeError",
        ),
        (
            [event("NodeRunFailedEvent", node_id="node-1", node_run_result=result(error_type="X"))],
            {"error_strategy": "fail-branch"},
            "exception",
            "X",
        ),
        ([event("NodeRunFailedEvent", node_id="other", node_run_result=result(error_type="X"))], {}, None, None),
        ([event("NodeRunPauseRequestedEvent", node_id="node-1")], {}, "paused", None),
        (
            [event("RunCompletedEvent", run_result=result(status=Shape(value="failed"), error_type=""))],
            {},
            "failed",
            "WorkflowNodeError",
        ),
    ],
)
def test_a_node(recorded: Any, events: list[Any], more: dict[str, Any], status: Any, error: Any) -> None:
    assert list(run_node(Node(*events, **more))) == events
    told = recorded.span("llm Ask")
    assert told.attributes.get("dify.node.status") == status
    assert told.attributes.get("error.type") == error
    assert (told.attributes["dify.node.id"], told.attributes["dify.workflow.id"]) == ("node-1", "w-1")
    assert "CANARY" not in repr(dict(told.attributes))


def test_a_node_run_again_tells_the_attempt(recorded: Any) -> None:
    same = Node()
    for _ in range(3):
        list(run_node(same))
    assert [s.attributes.get("dify.node.retry_index") for s in recorded.spans] == [None, 1, 2]


def test_a_model_call_names_the_cause_of_a_nodes_failure(recorded: Any) -> None:
    def fails(self: Any) -> Any:
        context.current().nearest("node").state["cause"] = "RateLimitError"
        yield event("NodeRunFailedEvent", node_id="node-1", node_run_result=result(error_type="WorkflowNodeError"))

    list(instrument(fails, node.RUN)(Node()))
    assert recorded.spans[0].attributes["error.type"] == "RateLimitError"


# --- tools, retrieval, agents


class Tool:
    entity = Shape(identity=Shape(name="weather", provider="builtin"), description=Shape(llm="Tells the weather"))
    runtime = Shape(runtime_parameters={"api_key": "CANARY", "unit": "C"})

    def tool_provider_type(self) -> Any:
        return Shape(value="builtin")

    def invoke(self, user_id: str, tool_parameters: Any, message_id: Any = None) -> Any:
        if tool_parameters.get("fail"):
            raise LookupError("CANARY")
        yield Shape(type=Shape(value="text"), message=Shape(text="sunny"), meta={})
        yield Shape(
            type=Shape(value="image"), message=Shape(text="https://f/x.png?sign=CANARY"), meta={"tool_file_id": "f-1"}
        )


invoke = instrument(Tool.invoke, tool.EXECUTE)


def test_a_tool(record: Any) -> None:
    recorded = record(content_on_spans=True)
    list(invoke(Tool(), "u", {"city": "Berlin"}, message_id="m-1"))
    facts = recorded.span("execute_tool weather").attributes
    assert facts["gen_ai.tool.call.arguments"] == facts["tool.parameters"] == '{"city":"Berlin"}'
    assert json.loads(facts["gen_ai.tool.call.result"])[0] == "sunny"
    assert (facts["dify.tool.provider_type"], facts["dify.tool.file_count"], facts["dify.message.file.id"]) == (
        "builtin",
        1,
        ("f-1",),
    )
    assert facts["dify.message.id"] == "m-1"
    assert "CANARY" not in repr(dict(facts))


@pytest.mark.parametrize(("fail", "error"), [(False, None), (True, "LookupError")])
def test_an_agents_tool_is_one_span_with_its_swallowed_error(recorded: Any, fail: bool, error: Any) -> None:
    def agent_invoke(tool: Any, tool_parameters: Any) -> Any:
        try:
            list(invoke(tool, "u", tool_parameters))
        except LookupError:
            return "tool invoke error", [], Shape(error="CANARY", time_cost=0.5)
        return "sunny", ["f-1"], Shape(error=None, time_cost=0.5)

    instrument(agent_invoke, tool.EXECUTE)(Tool(), {"fail": fail})
    (told,) = recorded.spans
    assert told.attributes.get("error.type") == error
    assert told.attributes["dify.tool.time_cost"] == 0.5
    assert "CANARY" not in repr(dict(told.attributes))


def test_an_agents_tool_that_only_reports_its_error(recorded: Any) -> None:
    instrument(lambda tool, tool_parameters: ("no", [], Shape(error="CANARY")), tool.EXECUTE)(Tool(), {})
    told = recorded.spans[0]
    assert told.attributes["error.type"] == "ToolInvokeError" and told.status.status_code is StatusCode.ERROR
    (point,) = recorded.points("dify.tool.duration")
    assert point.attributes["error.type"] == "ToolInvokeError"


def documents(*scores: Any) -> list[Any]:
    return [
        Shape(page_content="CANARY", metadata={"score": s, "document_id": f"d{i}", "dataset_id": "ds"})
        for i, s in enumerate(scores)
    ]


def test_a_retrieval_and_the_methods_it_calls_are_one_span(recorded: Any) -> None:
    inner = instrument(
        lambda retrieval_method, query, top_k=2, dataset_id="ds": documents(0.5, 0.9), retrieval.RETRIEVE
    )
    outer = instrument(
        lambda query, available_datasets=None: inner(Shape(value="semantic_search"), query) and "text",
        retrieval.RETRIEVE,
    )
    assert outer("CANARY", [Shape(id="ds")]) == "text"
    told = recorded.span("retrieval ds")
    assert {
        "gen_ai.operation.name": "retrieval",
        "gen_ai.data_source.id": "ds",
        "dify.retrieval.method": "semantic_search",
        "gen_ai.retrieval.top_k": 2,
        "dify.retrieval.document_count": 2,
        "dify.retrieval.scores": (0.5, 0.9),
        "dify.retrieval.document_ids": ("d0", "d1"),
    }.items() <= told.attributes.items()
    assert "CANARY" not in repr(dict(told.attributes))
    assert [p.sum for p in recorded.points("dify.retrieval.max_score")] == [0.9]


def test_an_empty_retrieval_is_counted(recorded: Any) -> None:
    instrument(lambda query: [], retrieval.RETRIEVE)("q")
    assert [p.value for p in recorded.points("dify.retrieval.empty")] == [1]


def test_searches(record: Any) -> None:
    recorded = record(content_on_spans=True)
    store = Shape(_dataset=Shape(id="ds"), _vector_processor=Shape(get_type=lambda: "qdrant", _collection_name="c"))
    instrument(lambda self, query, top_k=4: documents(0.25, 0.75), retrieval.VECTOR_SEARCH)(store, "q", 3)
    facts = recorded.span("vector_search qdrant").attributes
    assert (facts["dify.retrieval.hit_count"], facts["dify.retrieval.max_score"], facts["gen_ai.retrieval.top_k"]) == (
        2,
        0.75,
        3,
    )
    assert facts["dify.retrieval.query"] == "q" and facts["db.collection.name"] == "c"


class AgentMaxIterationError(Exception):
    pass


@pytest.mark.parametrize("fails", [False, True])
def test_an_agents_rounds(recorded: Any, fails: bool) -> None:
    thought = tap(lambda self, message_id: "thought-1", agent.THOUGHT_CREATED)
    saved = tap(lambda self, agent_thought_id, tool_name, thought, observation: None, agent.THOUGHT_SAVED)
    use = instrument(Tool.invoke, tool.EXECUTE)

    def run(self: Any, message: Any, query: str) -> Any:
        for name in ("weather", None):
            thought(self, "m")
            list(use(Tool(), "u", {}))
            yield Shape(delta=Shape(message=Shape(content="x"), usage=None))
            saved(self, "thought-1", name, "CANARY", "CANARY")
        if fails:
            raise AgentMaxIterationError

    config = Shape(agent=Shape(strategy="function-calling", max_iteration=5), app_id="app-1")
    stream = instrument(run, agent.RUN)(Shape(app_config=config), Shape(id="m-1"), "CANARY")
    if fails:
        with pytest.raises(AgentMaxIterationError):
            list(stream)
    else:
        list(stream)
    spans = {s.context.span_id: s for s in recorded.spans}
    whole = recorded.span("invoke_agent")
    rounds = [s for s in recorded.spans if s.name.startswith("react step")]
    assert [s.name for s in rounds] == ["react step 1", "react step 2"]
    assert next(s.attributes["gen_ai.react.finish_reason"] for s in rounds) == "tool_calls"
    assert all(s.parent.span_id == whole.context.span_id for s in rounds)
    tools = [s for s in recorded.spans if s.name.startswith("execute_tool")]
    assert [spans[s.parent.span_id].name for s in tools] == ["react step 1", "react step 2"]
    assert whole.attributes["dify.agent.iterations"] == 2
    assert whole.attributes["dify.agent.finish_reason"] == ("max_iterations" if fails else "stop")
    assert "CANARY" not in repr([dict(s.attributes) for s in recorded.spans])


# --- the rest


def test_a_started_run_names_the_plugin_and_not_its_provider(recorded: Any) -> None:
    for given in ("langgenius/mail/box", "langgenius/mail"):  # Dify fills `plugin_id` with the provider's
        data = Shape(trigger_type="trigger-plugin", plugin_id=given)
        instrument(lambda trigger_data: None, trigger.STARTED)(trigger_data=data)
    assert [span.attributes["dify.trigger.plugin_id"] for span in recorded.spans] == ["langgenius/mail"] * 2


def test_the_smaller_concepts(record: Any) -> None:
    recorded = record(content_on_spans=True)
    flagged = Shape(flagged=True, action=Shape(value="direct_output"), preset_response="no")
    factory = Shape(_ModerationFactory__extension_instance=Shape(name="keywords"))
    instrument(lambda self, inputs, query: flagged, moderation.INPUTS)(factory, {}, "bad")
    instrument(lambda cls, language, preload, code: "out", sandbox.EXECUTE)(None, "python3", "", "print(1)")
    instrument(lambda self, dataset_documents: None, indexing.RUN)(
        None, [Shape(id="d", dataset_id="ds", tenant_id="t")]
    )
    instrument(lambda webhook_trigger, webhook_data: None, trigger.WEBHOOK)(
        Shape(webhook_id="w", app_id="a", node_id="n", tenant_id="t"), {}
    )
    instrument(lambda tenant_id, query: "name", generation.CONVERSATION_NAME)("t", "q")
    facts = {s.name.split()[0]: s.attributes for s in recorded.spans}
    assert (
        facts["moderation"]["dify.moderation.flagged"] is True
        and facts["moderation"]["dify.moderation.action"] == "direct_output"
    )
    assert facts["code_execution"]["dify.code.output"] == "out" and facts["code_execution"]["dify.code.bytes"] == 8
    assert facts["dataset_indexing"]["dify.dataset.id"] == "ds"
    assert facts["trigger"]["dify.trigger.id"] == "w"
    assert facts["conversation_name"]["dify.generation.output"] == "name"


def test_a_published_pipelines_run_is_below_its_app_though_dify_sets_the_context_back(record: Any) -> None:
    recorded = record()
    run = instrument(lambda self: None, workflow.RUN)
    entity = Shape(
        extras={}, pipeline_config=Shape(), invoke_from="published", dataset_id="ds", document_id="d", batch="1"
    )

    def generate(
        self: Any,
        pipeline: Any,
        user: Any,
        application_generate_entity: Any,
        invoke_from: Any,
        context: Any,
        streaming: Any,
    ) -> Any:
        for variable, value in context.items():  # as `preserve_flask_contexts` does
            variable.set(value)
        run(Shape(application_generate_entity=application_generate_entity))
        return (item for item in ())

    with trace.use_span(recorded.tracer.start_span("task"), end_on_exit=True):
        taken = contextvars.copy_context()
        pipeline = Shape(id="p", tenant_id="t", name="Facts")
        instrument(generate, app.PIPELINE_RUN)(None, pipeline, Account(), entity, "published", taken, True)
    gc.collect()
    told, ran = recorded.span("dify.app Facts"), recorded.span("invoke_workflow Facts")
    assert ran.parent.span_id == told.context.span_id
    assert "dify.stream.outcome" not in told.attributes and not entity.extras.keys() - {workflow.RESUMES}
    assert told.attributes["dify.app.mode"] == "rag-pipeline"
    for span in (told, ran):
        assert span.attributes["dify.triggered_from"] == "rag-pipeline-run"
    assert ran.attributes["dify.dataset.id"] == "ds" and ran.attributes["dify.document.ids"] == ("d",)
    assert ran.attributes["dify.indexing.batch"] == "1"


def in_a_pool() -> Any:
    return trace.get_current_span().get_span_context().trace_id


def test_a_task_without_a_call_of_ours_hands_its_span_to_difys_own_pool(
    recorded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the task of a published knowledge pipeline does."""
    context.carry_into_threads()
    try:
        with trace.use_span(recorded.tracer.start_span("task")) as span, ThreadPoolExecutor(1) as pool:
            monkeypatch.setattr(in_a_pool, "__module__", "tasks.rag_pipeline.rag_pipeline_run_task")
            assert pool.submit(in_a_pool).result() == span.get_span_context().trace_id
            monkeypatch.setattr(in_a_pool, "__module__", "elsewhere")
            assert pool.submit(in_a_pool).result() == 0
    finally:
        context.leave_threads_alone()


def test_a_generated_workflow(record: Any) -> None:
    recorded = record(content_on_spans=True)
    drawn = {"graph": {"nodes": []}, "error": "EMPTY"}
    draw = instrument(lambda *, tenant_id, instruction: drawn, generation.prompt_generation("generate_workflow_graph"))
    assert draw(tenant_id="t", instruction="sort letters") is drawn
    events = [("plan", {"title": "Sorts"}), ("result", drawn)]
    stream = instrument(
        lambda *, tenant_id, instruction: (event for event in events),
        generation.prompt_generation("generate_workflow_graph_stream"),
    )
    assert list(stream(tenant_id="t", instruction="sort letters")) == events
    for told in recorded.spans:
        assert told.name == "prompt_generation workflow_graph"
        assert told.attributes["dify.prompt_generation.operation_type"] == "workflow_graph"
        assert told.attributes["dify.tenant_id"] == "t"
        assert told.attributes["dify.generation.input"] == "sort letters"
        assert json.loads(told.attributes["dify.generation.output"]) == drawn
        assert told.attributes["dify.generation.error"] == "EMPTY"
    assert len(recorded.spans) == 2


class Message:
    def __init__(self, **columns: Any) -> None:
        vars(self).update(columns)


def test_a_saved_message_tells_the_app(recorded: Any) -> None:
    row = Message(id="m-1", message_tokens=3, answer_tokens=4, total_price=0.5, currency="USD", status="normal", answer="CANARY",  # noqa: E501
                  message_metadata='{"retriever_resources": [1, 2]}')  # fmt: skip
    session = Shape(identity_map={"k": row, "other": Message(id="m-2")})
    save = tap(lambda self, session: None, message.SAVED)
    instrument(lambda app_model, user, args, invoke_from: save(Shape(_message_id="m-1"), session), app.REQUEST)(
        APP, USER, {}, "web-app"
    )
    facts = recorded.spans[0].attributes
    assert facts["dify.message.total_tokens"] == facts["gen_ai.usage.total_tokens"] == 7
    assert facts["dify.message.retriever_resource_count"] == 2
    assert "CANARY" not in repr(dict(facts))


def test_a_failed_message_tells_the_app(recorded: Any) -> None:
    handle = tap(lambda self, event: ValueError("told to the user"), message.FAILED)
    instrument(lambda app_model, user, args, invoke_from: handle(None, Shape(error=KeyError("CANARY"))), app.REQUEST)(
        APP, USER, {}, "web-app"
    )
    assert recorded.spans[0].attributes["error.type"] == "KeyError"


class Detached:
    """A row that would query, or raise, when an unloaded column is read."""

    def __init__(self) -> None:
        vars(self).update(_sa_instance_state=object(), id="loaded")

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("DetachedInstanceError")


def test_a_row_that_is_not_loaded_is_known_by_its_identity() -> None:
    row = Detached()
    vars(row).update(_sa_instance_state=Shape(identity=("key",)))
    assert shapes.key(row) == "loaded"
    del vars(row)["id"]
    assert shapes.key(row) == "key"
    vars(row).update(_sa_instance_state=Shape(identity=None))
    assert shapes.key(row) is None


def test_only_loaded_columns_are_read() -> None:
    assert shapes.column(Detached(), "id") == "loaded"
    assert shapes.column(Detached(), "name") is None
    assert shapes.column({"a": 1}, "a") == 1
    assert shapes.column(None, "a") is None


@pytest.mark.parametrize(
    ("item", "name"),
    [
        ('data: {"event": "message", "answer": "x"}\n\n', "message"),
        ('data: {"event":"message"}', "message"),
        ('data: {"answer": "\\"event\\": \\"error\\""}', None),
        ("data: [DONE]", None),
        ("data:", None),
        ("event: ping\n\n", None),
        ("", None),
        (None, None),
        (b'data: {"event": "message"}', None),
        ({"event": "error"}, "error"),
        ('data: {"event": "' + "x" * 100, None),
    ],
)
def test_names_of_streamed_events(item: Any, name: Any) -> None:
    assert shapes.sse_name(item) == name
