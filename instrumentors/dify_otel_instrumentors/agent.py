"""Agents: the run of an agent app, each of its iterations, and the agent strategies of plugins.

An iteration begins when the runner creates its thought and ends with the next one or with the run. It is current while
the runner's own code runs, so the model and tool calls of a round hang below that round.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from . import model, shapes
from .core import semconv
from .core.operation import Content, Error, Measure, Operation, Tap


def _before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
    runner = arguments.get("self")
    config = getattr(runner, "app_config", None)
    agent = getattr(config, "agent", None)
    app = enclosing.nearest("app") if enclosing is not None else None
    yield "gen_ai.operation.name", "invoke_agent"
    yield "gen_ai.agent.name", (app.state.get("name") if app is not None else None)
    yield (
        "gen_ai.request.model",
        shapes.word(shapes.first(getattr(runner, "model_instance", None), "model_name", "model")),
    )
    yield "dify.agent.strategy", shapes.word(getattr(agent, "strategy", None))
    yield "dify.agent.max_iterations", getattr(agent, "max_iteration", None)
    yield "dify.app_id", shapes.word(getattr(config, "app_id", None))
    yield "dify.message.id", shapes.word(shapes.column(arguments.get("message"), "id"))
    yield "gen_ai.conversation.id", shapes.word(shapes.column(getattr(runner, "conversation", None), "id"))
    yield "dify.agent.query", Content(arguments.get("query"))


def _name(facts: Mapping[str, Any]) -> str:
    return f"invoke_agent {facts.get('gen_ai.agent.name') or facts.get('dify.agent.strategy') or ''}".rstrip()


def _opened(call: Any, arguments: Mapping[str, Any]) -> None:
    runner = arguments.get("self")
    agent = getattr(getattr(runner, "app_config", None), "agent", None)
    call.state["strategy"] = shapes.word(getattr(agent, "strategy", None))
    call.state["max"] = getattr(agent, "max_iteration", None)


def _during(call: Any, chunk: Any) -> None:
    delta = getattr(chunk, "delta", None)
    message = getattr(delta, "message", None)
    if getattr(message, "content", None):
        call.note_chunk()
    usage = getattr(delta, "usage", None)
    if usage is not None:
        call.state["last_usage"] = usage


def _calls(call: Any) -> Iterator[Measure]:
    """How many model and tool calls an agent made: those that were seen, which a plugin's are not."""
    if "model_calls" in call.state:
        yield Measure("gen_ai.invoke_agent.inference_calls", call.state["model_calls"], {})
    if "tools" in call.state:
        yield Measure("gen_ai.invoke_agent.tool_calls", call.state["tools"], {})


def _after(call: Any, result: Any) -> Iterator[Any]:
    rounds = call.state.get("rounds", 0)
    reason = "error" if call.failed else "stop"
    if call.failed == "AgentMaxIterationError":
        reason = "max_iterations"
    _end_round(call, reason)
    yield "dify.agent.iterations", rounds
    yield "dify.agent.finish_reason", reason
    first = call.chunk()
    yield "gen_ai.response.time_to_first_chunk", round(first, 6) if first is not None else None
    labels = {"dify.agent.strategy": call.state.get("strategy"), "finish_reason": reason}
    yield Measure("dify.agent.iterations", rounds, labels)
    yield from _calls(call)
    yield Measure("gen_ai.invoke_agent.duration", call.elapsed(), {"error.type": call.failed})


RUN = Operation(
    concept="agent",
    name=_name,
    before=_before,
    during=_during,
    after=_after,
    opened=_opened,
    span_kind="AGENT",
)


def _round_before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
    yield "gen_ai.react.round", arguments["round"]
    yield "dify.agent.round", arguments["round"]


def _round_after(call: Any, result: Any) -> Iterator[Any]:
    yield "gen_ai.react.finish_reason", call.state.get("reason")


ROUND = Operation(
    concept="agent-round",
    name=lambda facts: f"react step {facts.get('gen_ai.react.round')}",
    before=_round_before,
    after=_round_after,
    span_kind="STEP",
    parent=lambda arguments: arguments["context"],
)


def _end_round(agent: Any, reason: str) -> None:
    current = agent.state.pop("round_call", None)
    if current is not None:
        current.state.setdefault("reason", reason)
        current.finish(None)
        agent.restore()


def _thought_created(arguments: Mapping[str, Any], result: Any, enclosing: Any) -> None:
    """`create_agent_thought`: a new round begins. It gives the row until 1.7.0, its id from 1.7.1 on."""
    agent = enclosing.nearest("agent") if enclosing is not None else None
    if agent is None or agent.ended:
        return
    _end_round(agent, "tool_calls")
    agent.state["rounds"] = agent.state.get("rounds", 0) + 1
    from .core import span  # loads OpenTelemetry: not before Dify runs

    call = span.begin(ROUND, {"round": agent.state["rounds"], "context": agent.context})
    if call is None:
        return
    agent.state["round_call"] = call
    call.tell(
        [("dify.agent.thought_id", shapes.word(shapes.column(result, "id") if not isinstance(result, str) else result))]
    )
    # The runner's generator is stepped in the agent's context: from now on that is the round's, and for the rest of
    # this step the round is made current as well.
    agent.lend(call)


THOUGHT_CREATED = Tap(after=_thought_created)


def _thought_saved(arguments: Mapping[str, Any], enclosing: Any) -> None:
    call = enclosing.nearest("agent-round") if enclosing is not None else None
    if call is None:
        return
    facts: list[tuple[str, Any]] = []
    thought, observation = arguments.get("thought"), arguments.get("observation")
    if thought:
        facts.append(("dify.agent.thought", Content(thought)))
    if observation:
        facts.append(("dify.agent.observation", Content(observation)))
    usage = arguments.get("llm_usage")
    if usage is not None:
        facts.append(("dify.usage.total_tokens", getattr(usage, "total_tokens", None)))
    if arguments.get("tool_name"):
        call.state["reason"] = "tool_calls"
    call.tell(facts)


THOUGHT_SAVED = Tap(before=_thought_saved)


# --- agent strategies of plugins (the workflow's agent node): the loop runs inside the plugin


def _strategy_before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
    strategy = arguments.get("self")
    declaration = getattr(strategy, "declaration", None)
    identity = getattr(declaration, "identity", None)
    node = enclosing.nearest("node") if enclosing is not None else None
    params = arguments.get("params")
    chosen = params.get("model") if isinstance(params, Mapping) else None
    yield "gen_ai.operation.name", "invoke_agent"
    yield "gen_ai.agent.name", shapes.word(getattr(identity, "name", None))
    yield "dify.agent.strategy", shapes.word(getattr(identity, "name", None))
    yield "dify.agent.strategy_provider", shapes.word(getattr(identity, "provider", None))
    if isinstance(chosen, Mapping):
        yield "gen_ai.request.model", shapes.word(chosen.get("model"))
    if isinstance(params, Mapping):
        maximum = params.get("maximum_iterations")
        yield "dify.agent.max_iterations", int(maximum) if isinstance(maximum, int | float) else None
        yield "dify.agent.query", Content(params.get("query"))
    yield "dify.node.id", node.state.get("node") if node is not None else None


def _strategy_during(call: Any, message: Any) -> None:
    kind = shapes.word(getattr(message, "type", None))
    if kind == "text":
        call.note_chunk()
    if kind != "log":
        return
    log = getattr(message, "message", None)
    label, status = shapes.word(getattr(log, "label", None)) or "", shapes.word(getattr(log, "status", None))
    if label.upper().startswith("ROUND") and status == "start":
        call.state["rounds"] = call.state.get("rounds", 0) + 1
    if status == "error" and not call.failed:
        call.state["log_error"] = shapes.word(getattr(log, "error", None))


def _strategy_after(call: Any, result: Any) -> Iterator[Any]:
    rounds = call.state.get("rounds")
    yield "dify.agent.iterations", rounds
    first = call.chunk()
    yield "gen_ai.response.time_to_first_chunk", round(first, 6) if first is not None else None
    if rounds:
        yield Measure("dify.agent.iterations", rounds, {"finish_reason": "error" if call.failed else "stop"})
    yield Measure("gen_ai.invoke_agent.duration", call.elapsed(), {"error.type": call.failed})
    shapes.blame(call)


STRATEGY = Operation(
    concept="agent",
    name=_name,
    before=_strategy_before,
    during=_strategy_during,
    after=_strategy_after,
    span_kind="AGENT",
)


# --- the agent app (1.15.0 and later): its loop runs in the agent backend


def _backend_before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
    yield "gen_ai.operation.name", "invoke_agent"
    app = enclosing.nearest("app") if enclosing is not None else None
    provider = shapes.word(getattr(getattr(arguments.get("agent_soul"), "model", None), "model_provider", None))
    yield "gen_ai.agent.name", app.state.get("name") if app is not None else None
    yield "gen_ai.provider.name", semconv.provider_name(provider)
    yield "dify.model.provider", provider
    yield "dify.agent.id", shapes.word(arguments.get("agent_id"))
    yield "gen_ai.request.model", shapes.word(arguments.get("model_name"))
    yield "dify.message.id", shapes.word(arguments.get("message_id"))
    yield "gen_ai.conversation.id", shapes.word(arguments.get("conversation_id"))
    yield "dify.agent.strategy", "agent_backend"
    yield "dify.agent.query", Content(arguments.get("query"))


def _backend_opened(call: Any, arguments: Mapping[str, Any]) -> None:
    provider = shapes.word(getattr(getattr(arguments.get("agent_soul"), "model", None), "model_provider", None))
    model_name = shapes.word(arguments.get("model_name"))
    call.state["labels"] = {"gen_ai.provider.name": semconv.provider_name(provider), "gen_ai.request.model": model_name}


def _backend_after(call: Any, result: Any) -> Iterator[Any]:
    usage = call.state.get("usage")
    if usage is not None:
        yield from model.usage_facts(usage)
        yield from model.usage_measures(call, usage, "invoke_agent")
    first = call.chunk()
    yield "gen_ai.response.time_to_first_chunk", round(first, 6) if first is not None else None
    yield "dify.agent.tool_calls", call.state.get("tools")
    yield from _calls(call)
    yield Measure("gen_ai.invoke_agent.duration", call.elapsed(), {"error.type": call.failed})


BACKEND = Operation(
    concept="agent",
    name=_name,
    before=_backend_before,
    after=_backend_after,
    opened=_backend_opened,
    span_kind="AGENT",
)


def _events_during(call: Any, event: Any) -> None:
    kind = type(event).__name__
    data = getattr(event, "data", None)
    agent = call.nearest("agent")
    if kind == "PydanticAIStreamRunEvent":
        if getattr(event, "agent_message_delta", None):
            call.note_chunk()
            if agent is not None:
                agent.note_chunk()
        else:
            _backend_tool(call, agent, data)
        return
    if kind == "RunStartedEvent":
        return
    # Dify stops reading here: the run is over, whatever came of it.
    call.state["complete"] = True
    if kind == "RunFailedEvent":
        call.error(
            Error(shapes.word(shapes.column(data, "reason")) or "run_failed", shapes.word(shapes.column(data, "error")))
        )
    elif kind == "RunCancelledEvent":
        call.state["cancelled"] = True
    elif kind == "RunSucceededEvent" and agent is not None:
        agent.state["usage"] = shapes.column(data, "usage")
        agent.tell([("dify.agent.answer", Content(shapes.column(data, "output")))])


def _backend_tool(call: Any, agent: Any, data: Any) -> None:
    """A tool that the backend calls on its side: its span is as long as between the events that tell of it."""
    kind = shapes.word(shapes.column(data, "event_kind"))
    if kind == "function_tool_call":
        part = shapes.column(data, "part")
        name, key = shapes.word(shapes.column(part, "tool_name")), shapes.word(shapes.column(part, "tool_call_id"))
        if agent is not None:
            agent.state["tools"] = agent.state.get("tools", 0) + 1
        open_tools = call.state.setdefault("open", {})
        if key is None or len(open_tools) >= _OPEN_MAX:
            return
        from .core import span  # loads OpenTelemetry: not before Dify runs

        arguments = {"name": name, "id": key, "args": shapes.column(part, "args"), "context": call.context}
        begun = span.begin(BACKEND_TOOL, arguments)
        if begun is not None:
            open_tools[key] = begun
    elif kind == "function_tool_result":
        part = shapes.column(data, "part") or shapes.column(data, "result")
        begun = call.state.get("open", {}).pop(shapes.word(shapes.column(part, "tool_call_id")), None)
        if begun is not None:
            begun.finish(shapes.column(part, "content"))


_OPEN_MAX = 64


def _backend_tool_before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
    yield "gen_ai.operation.name", "execute_tool"
    yield "gen_ai.tool.name", arguments["name"]
    yield "gen_ai.tool.call.id", arguments["id"]
    yield "gen_ai.tool.type", "extension"
    yield "dify.tool.name", arguments["name"]
    yield "gen_ai.tool.call.arguments", Content(arguments["args"])
    yield "dify.tool.inputs", Content(arguments["args"])


def _backend_tool_after(call: Any, result: Any) -> Iterator[Any]:
    yield "dify.tool.duration", round(call.elapsed(), 6)
    if result is not None:
        yield "gen_ai.tool.call.result", Content(result)
        yield "dify.tool.outputs", Content(result)
    labels = {"gen_ai.tool.name": call.fact("gen_ai.tool.name"), "error.type": call.failed}
    yield Measure("dify.tool.duration", call.elapsed(), labels)
    yield Measure("gen_ai.execute_tool.duration", call.elapsed(), labels)


BACKEND_TOOL = Operation(
    concept="tool",
    name=lambda facts: f"execute_tool {facts.get('gen_ai.tool.name') or 'unknown'}",
    before=_backend_tool_before,
    after=_backend_tool_after,
    parent=lambda arguments: arguments["context"],
    span_kind="TOOL",
)


def _events_before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
    yield "dify.agent.run_id", shapes.word(arguments.get("run_id"))


def _events_after(call: Any, result: Any) -> Iterator[Any]:
    for begun in call.state.pop("open", {}).values():
        begun.finish(None)
    first = call.chunk()
    yield "gen_ai.response.time_to_first_chunk", round(first, 6) if first is not None else None
    if call.state.get("cancelled"):
        yield "dify.stream.outcome", "cancelled"


EVENTS = Operation(
    concept="agent-backend",
    name=lambda facts: "agent_backend run",
    before=_events_before,
    during=_events_during,
    after=_events_after,
    kind="client",
)
