"""Attributes that the conventions want of agents, tools, retrievals and runs, beyond the monitoring data list."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from types import ModuleType
from types import SimpleNamespace as Shape
from typing import Any

import pytest
from dify_otel_instrumentors import agent, app, generation, node, retrieval, sandbox, tool, trigger, workflow
from dify_otel_instrumentors.core.wrapper import instrument, tap
from opentelemetry.trace import StatusCode

from tests.semconv.schemas import faults

APP = Shape(id="app-1", tenant_id="tenant-1", name="Otters", mode="agent-chat", description="Knows otters")
USER = Shape(id="user-1", session_id="ann")


def usage(read: int, said: int) -> Any:
    return Shape(prompt_tokens=read, completion_tokens=said, total_tokens=read + said, total_price=0.5, currency="USD")


def weather(kind: str = "plugin", **more: Any) -> Any:
    identity = Shape(name="weather", provider="langgenius/weather/weather")
    entity = Shape(identity=identity, description=Shape(llm="Tells the weather"))
    return Shape(entity=entity, runtime=None, tool_provider_type=lambda: kind, **more)


def in_app(does: Any, args: Any = None, app_model: Any = APP) -> Any:
    """`does()` inside a request to an app."""
    asked = instrument(lambda app_model, user, args, invoke_from, streaming: does(), app.REQUEST)
    return asked(app_model, USER, args or {"query": "CANARY"}, "service-api", False)


CONFIG = Shape(
    agent=Shape(strategy="function-calling", max_iteration=5, tools=[Shape(tool_name="weather")]),
    app_id="app-1",
    prompt_template=Shape(simple_prompt_template="CANARY be brief"),
)


class GenerateTaskStoppedError(Exception):
    pass


def run_agent(stop: bool = False) -> Any:
    """A function-calling agent's turn: two rounds, the first of which asks for a tool twice."""
    thought = tap(lambda self, message_id: "thought", agent.THOUGHT_CREATED)
    saved = tap(lambda self, agent_thought_id, tool_name, thought, observation, llm_usage: None, agent.THOUGHT_SAVED)
    use = instrument(lambda tool, tool_parameters: ("sunny", [], Shape(error=None)), tool.EXECUTE)
    first, second = usage(10, 1), usage(20, 2)

    def run(self: Any, message: Any, query: str) -> Any:
        thought(self, "m")
        calls = [Shape(id=i, function=Shape(name="weather", arguments="{}")) for i in ("call-1", "call-2")]
        yield Shape(delta=Shape(message=Shape(content="", tool_calls=calls), usage=first))
        saved(self, "thought", "weather", "", "", first)
        for _ in calls:
            use(weather(), {})
        saved(self, "thought", "", "", "CANARY", first)
        if stop:
            raise GenerateTaskStoppedError
        thought(self, "m")
        yield Shape(delta=Shape(message=Shape(content="CANARY sunny"), usage=second))
        first.prompt_tokens += second.prompt_tokens  # as Dify's increase_usage does
        saved(self, "thought", "", "CANARY sunny", "", second)

    stream = instrument(run, agent.RUN)
    return in_app(lambda: list(stream(Shape(app_config=CONFIG), Shape(id="m-1"), "CANARY")))


def test_an_agent_sums_what_its_rounds_used(recorded: Any) -> None:
    run_agent()
    facts = recorded.span("invoke_agent Otters").attributes
    assert (facts["gen_ai.usage.input_tokens"], facts["gen_ai.usage.output_tokens"]) == (30, 3)
    assert (facts["dify.usage.total_tokens"], facts["dify.usage.cost.total"]) == (33, 1.0)
    assert facts["dify.usage.cost.currency"] == "USD"
    rounds = [recorded.span(f"react step {n}").attributes["dify.usage.total_tokens"] for n in (1, 2)]
    assert rounds == [11, 22]


def test_an_agent_says_what_it_is_and_why_it_ended(recorded: Any) -> None:
    run_agent()
    facts = recorded.span("invoke_agent Otters").attributes
    assert facts["gen_ai.agent.description"] == "Knows otters"
    assert (facts["dify.agent.id"], facts["dify.agent.tool_names"]) == ("app-1", ("weather",))
    assert facts["gen_ai.response.finish_reasons"] == ("stop",)
    assert facts["dify.agent.tool_calls"] == 2
    assert "CANARY" not in repr([dict(s.attributes) for s in recorded.spans])


def test_an_agents_messages_are_in_the_conventions_words(record: Any) -> None:
    recorded = record(content_on_spans=True)
    run_agent()
    facts = recorded.span("invoke_agent Otters").attributes
    for name in ("input.messages", "output.messages", "system_instructions", "tool.definitions"):
        assert faults(f"gen_ai.{name}", facts[f"gen_ai.{name}"]) == []
    assert json.loads(facts["gen_ai.output.messages"])[0]["parts"][0]["content"] == "CANARY sunny"
    assert facts["input.value"] == "CANARY" and facts["output.value"] == "CANARY sunny"


def test_an_agents_tool_knows_who_called_it_and_under_which_id(recorded: Any) -> None:
    run_agent()
    tools = [s.attributes for s in recorded.spans if s.name == "execute_tool weather"]
    assert [facts["gen_ai.tool.call.id"] for facts in tools] == ["call-1", "call-2"]
    assert {facts["gen_ai.agent.name"] for facts in tools} == {"Otters"}
    assert {facts["dify.plugin.name"] for facts in tools} == {"langgenius/weather"}


def test_a_persons_stop_is_no_error_of_the_agent(recorded: Any) -> None:
    with pytest.raises(GenerateTaskStoppedError):
        run_agent(stop=True)
    told = recorded.span("invoke_agent Otters")
    assert told.status.status_code is StatusCode.UNSET and "error.type" not in told.attributes
    assert told.attributes["dify.agent.finish_reason"] == "cancelled"
    assert told.attributes["dify.stream.outcome"] == "cancelled"


def test_an_mcp_tool_names_its_server_and_nothing_else_of_the_address(recorded: Any) -> None:
    served = weather("mcp", server_url="https://mcp.example:8443/CANARY?key=CANARY")
    instrument(lambda tool, tool_parameters: ("", [], Shape(error=None)), tool.EXECUTE)(served, {})
    facts = recorded.span("execute_tool weather").attributes
    assert (facts["server.address"], facts["server.port"]) == ("mcp.example", 8443)
    assert "CANARY" not in repr(dict(facts))


# --- agents that run elsewhere


def log(key: str, label: str, status: str, parent: str | None = None, **more: Any) -> Any:
    body = Shape(id=key, label=label, status=status, parent_id=parent, data={"said": "CANARY"}, metadata={}, **more)
    return Shape(type="log", message=body)


def run_strategy(*messages: Any) -> None:
    identity = Shape(name="function_calling", provider="langgenius/agent/agent")
    strategy = Shape(declaration=Shape(identity=identity, description=Shape(en_US="Calls functions")))
    params = {"query": "CANARY", "tools": [{"identity": {"name": "weather"}}], "maximum_iterations": 3}
    invoke = instrument(lambda self, params: iter_of(messages), agent.STRATEGY)
    a_node = Shape(id="n-1", node_type="agent", title="Ask around", node_data=None)

    def run(self: Any) -> Any:
        yield from invoke(strategy, params)

    list(instrument(run, node.RUN)(a_node))


def iter_of(items: Any) -> Iterator[Any]:
    yield from items


def test_a_plugins_strategy_has_a_span_for_each_of_its_rounds(recorded: Any) -> None:
    used = {"execution_metadata": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}}
    run_strategy(
        log("r1", "ROUND 1", "start"),
        log("c1", "CALL weather", "start", "r1"),
        log("c1", "CALL weather", "success", "r1"),
        Shape(
            type="log", message=Shape(id="r1", label="ROUND 1", status="success", data={}, metadata={"total_tokens": 5})
        ),
        log("r2", "ROUND 2", "start"),
        log("r2", "ROUND 2", "success"),
        Shape(type="text", message=Shape(text="CANARY")),
        Shape(type="json", message=Shape(json_object=used)),
    )
    whole = recorded.span("invoke_agent Ask around")
    rounds = [s for s in recorded.spans if s.name.startswith("react step")]
    assert [s.attributes["gen_ai.react.finish_reason"] for s in rounds] == ["tool_calls", "stop"]
    assert [s.attributes.get("dify.usage.total_tokens") for s in rounds] == [5, None]
    assert {s.parent.span_id for s in rounds} == {whole.context.span_id}
    facts = whole.attributes
    assert (facts["gen_ai.usage.input_tokens"], facts["gen_ai.usage.output_tokens"]) == (7, 2)
    assert (facts["dify.agent.iterations"], facts["dify.agent.tool_calls"]) == (2, 1)
    assert (facts["dify.plugin.name"], facts["dify.agent.tool_names"]) == ("langgenius/agent", ("weather",))
    assert "CANARY" not in repr([dict(s.attributes) for s in recorded.spans])


def test_a_round_of_a_strategy_that_never_ends_is_ended(recorded: Any) -> None:
    run_strategy(log("r1", "ROUND 1", "start"))
    assert recorded.span("react step 1").attributes["gen_ai.react.finish_reason"] == "stop"


class PydanticAIStreamRunEvent:
    def __init__(self, **data: Any) -> None:
        self.data = data
        self.agent_message_delta = None


class RunSucceededEvent:
    data = Shape(output="CANARY", usage=usage(4, 3))


EVENTS = (
    PydanticAIStreamRunEvent(event_kind="part_start", index=0),
    PydanticAIStreamRunEvent(event_kind="part_start", index=1),
    PydanticAIStreamRunEvent(event_kind="function_tool_call", part={"tool_name": "weather", "tool_call_id": "c"}),
    PydanticAIStreamRunEvent(event_kind="function_tool_result", result={"tool_call_id": "c", "content": "CANARY"}),
    PydanticAIStreamRunEvent(event_kind="part_start", index=0),
    RunSucceededEvent(),
)


def test_an_agent_apps_rounds_hold_its_tools(recorded: Any) -> None:
    events = instrument(lambda self, run_id: iter_of(EVENTS), agent.EVENTS)
    turn = instrument(lambda self, agent_id, query, model_name: list(events(None, "run-1")) and None, agent.BACKEND)
    in_app(lambda: turn(None, "agent-1", "CANARY", "stub"))
    spans = {s.context.span_id: s for s in recorded.spans}
    whole = recorded.span("invoke_agent Otters")
    rounds = [recorded.span(f"react step {n}") for n in (1, 2)]
    assert [s.attributes["gen_ai.react.finish_reason"] for s in rounds] == ["tool_calls", "stop"]
    assert {spans[s.parent.span_id].name for s in rounds} == {whole.name}
    used = recorded.span("execute_tool weather")
    assert spans[used.parent.span_id] is rounds[0] and used.attributes["gen_ai.agent.name"] == "Otters"
    assert (whole.attributes["gen_ai.usage.input_tokens"], whole.attributes["dify.agent.iterations"]) == (4, 2)
    assert whole.attributes["gen_ai.agent.description"] == "Knows otters"


def test_a_workflows_agent_node_in_the_backend_is_an_agent_too(recorded: Any) -> None:
    events = instrument(lambda self, run_id: iter_of(EVENTS), agent.EVENTS)

    def run(self: Any) -> Any:
        yield from events(None, "run-1")

    list(instrument(run, node.RUN)(Shape(id="n-1", node_type="agent", title="Ask around", node_data=None)))
    told = recorded.span("invoke_agent Ask around")
    assert told.attributes["gen_ai.operation.name"] == "invoke_agent"
    assert told.attributes["gen_ai.usage.output_tokens"] == 3
    assert told.attributes["gen_ai.span.kind"] == "AGENT"
    assert recorded.span("react step 2").parent.span_id == told.context.span_id
    assert "CANARY" not in repr([dict(s.attributes) for s in recorded.spans])


def test_a_person_who_stops_an_agent_app(recorded: Any) -> None:
    def stopped(self: Any, agent_id: str) -> None:
        raise GenerateTaskStoppedError

    with pytest.raises(GenerateTaskStoppedError):
        instrument(stopped, agent.BACKEND)(None, "agent-1")
    told = recorded.span("invoke_agent")
    assert told.status.status_code is StatusCode.UNSET and told.attributes["dify.stream.outcome"] == "cancelled"


# --- apps and runs


def sse(**body: Any) -> str:
    return "data: " + json.dumps(body)


def test_a_streamed_run_names_its_workflow_on_the_apps_span(record: Any) -> None:
    recorded = record(content_on_spans=True)
    chatflow = Shape(**{**vars(APP), "mode": "advanced-chat"})
    items = [
        sse(event="workflow_started", workflow_run_id="run-1", message_id="m-1", data={"workflow_id": "wf-1"}),
        sse(event="message", answer="CANARY answer"),
    ]
    generate = instrument(lambda app_model, user, args, invoke_from: iter_of(items), app.REQUEST)
    list(generate(chatflow, USER, {"query": "CANARY question"}, "debugger"))
    facts = recorded.span("dify.app Otters").attributes
    assert (facts["dify.workflow.id"], facts["dify.triggered_from"]) == ("wf-1", "debugging")
    for name, text in (("input", "CANARY question"), ("output", "CANARY answer")):
        assert faults(f"gen_ai.{name}.messages", facts[f"gen_ai.{name}.messages"]) == []
        assert text in facts[f"gen_ai.{name}.messages"]


def test_without_content_a_turn_is_no_message(recorded: Any) -> None:
    in_app(lambda: {"answer": "CANARY", "message_id": "m-2"})
    assert not [key for key in recorded.spans[0].attributes if key.endswith(".messages")]


class GraphRunSucceededEvent:
    outputs = {"answer": "CANARY answer"}  # noqa: RUF012


def test_a_chatflows_run_has_messages_and_a_workflows_has_none(record: Any) -> None:
    recorded = record(content_on_spans=True)
    happened = tap(lambda self, workflow_entry, event: None, workflow.EVENTS)

    def run(self: Any) -> None:
        happened(self, Shape(graph_engine=None), GraphRunSucceededEvent())

    entity = Shape(
        app_config=Shape(app_id="app-1", tenant_id="t", workflow_id="wf-1"), query="CANARY question", inputs={}
    )
    for conversation in (Shape(id="c-1"), None):
        runner = Shape(application_generate_entity=entity, conversation=conversation)
        in_app(lambda runner=runner: instrument(run, workflow.RUN)(runner))
    chatflow, plain = (s.attributes for s in recorded.spans if s.name.startswith("invoke_workflow"))
    assert "CANARY question" in chatflow["gen_ai.input.messages"]
    assert "CANARY answer" in chatflow["gen_ai.output.messages"]
    assert "gen_ai.input.messages" not in plain and "gen_ai.output.messages" not in plain
    asked = [s.attributes for s in recorded.spans if s.name.startswith("dify.app")]
    assert {facts["dify.workflow.id"] for facts in asked} == {"wf-1"}


def test_a_workflow_used_as_a_tool_names_the_node_that_called_it(recorded: Any) -> None:
    inner = instrument(lambda app_model, user, args, invoke_from: None, app.RUN)

    def run(self: Any) -> Any:
        yield inner(APP, USER, {}, "service-api")

    def outer(self: Any) -> None:
        list(
            instrument(run, node.RUN)(Shape(id="n-1", execution_id="e-1", node_type="tool", title="t", node_data=None))
        )

    runner = Shape(application_generate_entity=Shape(app_config=None, workflow_execution_id="run-1"))
    instrument(outer, workflow.RUN)(runner)
    facts = recorded.span("dify.app Otters").attributes
    assert facts["dify.parent.node.execution_id"] == "e-1"
    assert facts["dify.parent.workflow.run_id"] == "run-1"


def test_a_workflow_used_as_a_tool_names_the_app_whose_agent_called_it(recorded: Any) -> None:
    inner = instrument(lambda app_model, user, args, invoke_from: None, app.RUN)
    config = Shape(app_id="app-of-the-agent", tenant_id="t")
    instrument(lambda self: inner(APP, USER, {}, "service-api"), agent.RUN)(Shape(app_config=config))
    facts = recorded.span("dify.app Otters").attributes
    assert facts["dify.parent.app_id"] == "app-of-the-agent"
    assert "dify.parent.workflow.run_id" not in facts


@pytest.mark.parametrize("operation", [app.REQUEST, app.RUN])
def test_the_callers_session_is_on_the_apps_span_in_whichever_process(operation: Any, recorded: Any) -> None:
    args = {"trace_session_id": "session-1"}
    instrument(lambda app_model, user, args, invoke_from: None, operation)(APP, USER, args, "service-api")
    assert recorded.span("dify.app Otters").attributes["dify.trace_session_id"] == "session-1"


def test_suggested_questions_link_to_the_run_that_made_the_message(recorded: Any) -> None:
    in_app(lambda: {"answer": "CANARY", "message_id": "m-3"})
    inner = instrument(lambda tenant_id, histories: ["a"], generation.SUGGESTED_QUESTIONS)
    ask = instrument(lambda app_model, user, message_id: inner("t", ""), generation.SUGGESTED_QUESTIONS)
    ask(APP, USER, "m-3")
    ask(APP, USER, "never seen")
    first, second = (s for s in recorded.spans if s.name.startswith("suggested_questions"))
    made = recorded.span("dify.app Otters")
    assert [link.context.span_id for link in first.links] == [made.context.span_id]
    assert not second.links and "links" not in second.attributes


def test_what_is_remembered_of_messages_is_bounded(recorded: Any) -> None:
    for number in range(app.RECENT_MAX + 5):
        in_app(lambda number=number: {"answer": "", "message_id": f"many-{number}"})
    assert app.recent("many-4") is None and app.recent(f"many-{app.RECENT_MAX + 4}")
    assert len(app._recent) == app.RECENT_MAX


# --- retrieval, sandbox, triggers


def test_a_retrieval_names_its_embedding_model_and_its_weights(recorded: Any) -> None:
    search = instrument(lambda self, query: [], retrieval.VECTOR_SEARCH)
    by_words = instrument(lambda self, query: [], retrieval.KEYWORD_SEARCH)

    def retrieve(self: Any, query: str, available_datasets: Any, reranking_mode: str, weights: Any) -> Any:
        search(Shape(_dataset=Shape(id="d", embedding_model="stub-embedding")), query)
        by_words(Shape(_dataset=Shape(id="d2", embedding_model="never-used")), query)
        return []

    weights = {"vector_setting": {"vector_weight": 0.7}, "keyword_setting": {"keyword_weight": 0.3}}
    datasets = [Shape(id="d", embedding_model=None)]
    instrument(retrieve, retrieval.RETRIEVE)(None, "CANARY", datasets, "weighted_score", weights)
    facts = recorded.span("retrieval d").attributes
    assert facts["gen_ai.request.model"] == "stub-embedding"
    assert facts["dify.dataset.embedding_models"] == ("stub-embedding",)
    assert (facts["dify.retrieval.weights.vector"], facts["dify.retrieval.weights.keyword"]) == (0.7, 0.3)
    assert facts["dify.retrieval.reranking_mode"] == "weighted_score"


def test_several_embedding_models_are_none_in_particular(recorded: Any) -> None:
    datasets = [Shape(id="a", embedding_model="one"), Shape(id="b", embedding_model="two")]
    instrument(lambda self, available_datasets: [], retrieval.RETRIEVE)(None, datasets)
    facts = recorded.span("retrieval").attributes
    assert facts["dify.dataset.embedding_models"] == ("one", "two") and "gen_ai.request.model" not in facts


def test_code_names_the_sandbox_it_runs_in(recorded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    home: Any = ModuleType("home")
    home.code_execution_endpoint_url = Shape(host="sandbox", port=8194)
    monkeypatch.setitem(sys.modules, sandbox._HOME, home)
    instrument(lambda cls, language, preload, code: "", sandbox.EXECUTE)(None, "python3", "", "")
    facts = recorded.span("code_execution").attributes
    assert (facts["server.address"], facts["server.port"]) == ("sandbox", 8194)


def test_a_trigger_names_its_event_and_the_workflow_it_starts(recorded: Any) -> None:
    metadata = Shape(provider_id="langgenius/github/github", event_name="issue_opened")
    data = Shape(trigger_type="trigger-plugin", trigger_from="plugin", workflow_id="wf-1", app_id="a",
                 tenant_id="t", root_node_id="n", inputs={"x": "CANARY"}, trigger_metadata=metadata)  # fmt: skip
    instrument(lambda session, user, trigger_data: None, trigger.STARTED)(None, None, data)
    facts = recorded.span("trigger plugin").attributes
    assert facts["dify.trigger.provider"] == "langgenius/github/github"
    assert (facts["dify.trigger.event"], facts["dify.triggered_from"]) == ("issue_opened", "plugin")
    assert facts["dify.workflow.id"] == "wf-1"
    assert "CANARY" not in repr(dict(facts))
