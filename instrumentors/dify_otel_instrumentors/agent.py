"""Agents: the run of an agent app, each of its iterations, and the agent strategies of plugins.

An iteration begins when the runner creates its thought and ends with the next one or with the run. It is current while
the runner's own code runs, so the model and tool calls of a round hang below that round.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from . import messages, model, shapes
from .core import rules, semconv
from .core.operation import Content, Error, Measure, Operation, Tap


def _asked(query: Any, instructions: Any = None) -> Iterator[tuple[str, Any]]:
    """What an agent is told, as it is and in the convention's words."""
    yield "dify.agent.query", Content(query) if query else None
    if not rules.policy().content:
        return
    if isinstance(query, str) and query:
        yield "gen_ai.input.messages", Content(messages.said("user", query))
    if isinstance(instructions, str) and instructions:
        yield "gen_ai.system_instructions", Content([{"type": "text", "content": instructions}])


def _offered(names: Any) -> Iterator[tuple[str, Any]]:
    """The tools that an agent has, by name."""
    known = [name for name in (shapes.word(name) for name in names) if name][:_TOOLS_MAX]
    if known:
        yield "dify.agent.tool_names", known
        if rules.policy().content:
            yield "gen_ai.tool.definitions", Content([{"type": "function", "name": name} for name in known])


def _answered(text: Any) -> Iterator[tuple[str, Any]]:
    if text is None or text == "":
        return
    yield "dify.agent.answer", Content(text)
    if rules.policy().content:
        plain = text if isinstance(text, str) else None
        yield "gen_ai.output.messages", Content(messages.said("assistant", plain)) if plain else None


_TOOLS_MAX = 64
_FINISH = {"stop": "stop", "max_iterations": "tool_call", "error": "error"}
"""Why an agent's last model call was its last, in the words for model calls."""


def _before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
    runner = arguments.get("self")
    config = getattr(runner, "app_config", None)
    agent = getattr(config, "agent", None)
    app = enclosing.nearest("app") if enclosing is not None else None
    yield "gen_ai.operation.name", "invoke_agent"
    yield "gen_ai.agent.name", (app.state.get("name") if app is not None else None)
    yield "gen_ai.agent.description", (app.state.get("description") if app is not None else None)
    yield "dify.agent.id", shapes.word(getattr(config, "app_id", None))
    yield (
        "gen_ai.request.model",
        shapes.word(shapes.first(getattr(runner, "model_instance", None), "model_name", "model")),
    )
    yield "dify.agent.strategy", shapes.word(getattr(agent, "strategy", None))
    yield "dify.agent.max_iterations", getattr(agent, "max_iteration", None)
    yield "dify.app_id", shapes.word(getattr(config, "app_id", None))
    yield "dify.message.id", shapes.word(shapes.column(arguments.get("message"), "id"))
    yield "gen_ai.conversation.id", shapes.word(shapes.column(getattr(runner, "conversation", None), "id"))
    yield from _offered(getattr(tool, "tool_name", None) for tool in getattr(agent, "tools", None) or ())
    prompt = getattr(getattr(config, "prompt_template", None), "simple_prompt_template", None)
    yield from _asked(arguments.get("query"), prompt)


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
    calls = getattr(message, "tool_calls", None)
    if calls:
        messages.merge_calls(call.state.setdefault("asked", []), calls)


def asked_as(agent: Any, tool: str | None) -> str | None:
    """The id under which the model has asked for that tool in this round, the first that is not answered yet."""
    waiting: list[messages.MergedCall] = agent.state.get("asked") or []
    for position, made in enumerate(waiting):
        if made.name == tool:
            return waiting.pop(position).id
    return None


def _calls(call: Any) -> Iterator[Measure]:
    """How many model and tool calls an agent made: those that were seen, which a plugin's are not."""
    if "model_calls" in call.state:
        yield Measure("gen_ai.invoke_agent.inference_calls", call.state["model_calls"], {})
    if "tools" in call.state:
        yield Measure("gen_ai.invoke_agent.tool_calls", call.state["tools"], {})


def _duration(call: Any) -> Measure:
    labels = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": call.fact("gen_ai.provider.name"),
        "gen_ai.request.model": call.fact("gen_ai.request.model"),
        "error.type": call.failed,
    }
    return Measure("gen_ai.invoke_agent.duration", call.elapsed(), labels)


def _after(call: Any, result: Any) -> Iterator[Any]:
    rounds = call.state.get("rounds", 0)
    yield from _stopped(call)
    reason = "cancelled" if call.state.get("cancelled") else "error" if call.failed else "stop"
    if call.failed == "AgentMaxIterationError":
        reason = "max_iterations"
    _end_round(call, reason)
    yield "dify.agent.iterations", rounds
    yield "dify.agent.finish_reason", reason
    if rounds:
        yield "gen_ai.response.finish_reasons", [_FINISH[reason]] if reason in _FINISH else None
    yield "dify.agent.tool_calls", call.state.get("tools")
    yield from call.state.get("used", {}).items()
    yield from _answered(call.state["answer"]) if call.state.get("answer") else ()
    first = call.chunk()
    yield "gen_ai.response.time_to_first_chunk", round(first, 6) if first is not None else None
    labels = {"dify.agent.strategy": call.state.get("strategy"), "finish_reason": reason}
    yield Measure("dify.agent.iterations", rounds, labels)
    yield from _calls(call)
    yield _duration(call)


def _stopped(call: Any) -> Iterator[tuple[str, Any]]:
    """A person's stop passes through agents as an exception."""
    if call.failed == "GenerateTaskStoppedError":
        call.clear_error()
        call.state["cancelled"] = True
        yield "dify.stream.outcome", "cancelled"


_SUMMED = frozenset(
    {
        *("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "dify.usage.total_tokens"),
        *("dify.usage.cost.total", "dify.usage.cost.input", "dify.usage.cost.output"),
    }
)


def _add(agent: Any, usage: Any) -> None:
    """Add a round's tokens and price to the agent's. Its numbers, not itself: Dify adds later rounds to the first."""
    sums = agent.state.setdefault("used", {})
    for key, value in model.usage_facts(usage):
        if key in _SUMMED and value is not None:
            sums[key] = sums.get(key, 0) + value
        elif key == "dify.usage.cost.currency":
            sums[key] = value


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


def _begin_round(agent: Any) -> Any:
    agent.state["rounds"] = agent.state.get("rounds", 0) + 1
    agent.state.pop("round_used", None)
    from .core import span  # loads OpenTelemetry: not before Dify runs

    call = span.begin(ROUND, {"round": agent.state["rounds"], "context": agent.context})
    if call is not None:
        agent.state["round_call"] = call
    return call


def _thought_created(arguments: Mapping[str, Any], result: Any, enclosing: Any) -> None:
    """`create_agent_thought`: a new round begins. It gives the row until 1.7.0, its id from 1.7.1 on."""
    agent = enclosing.nearest("agent") if enclosing is not None else None
    if agent is None or agent.ended:
        return
    _end_round(agent, "tool_calls")
    agent.state.pop("asked", None)
    call = _begin_round(agent)
    if call is None:
        return
    call.tell(
        [("dify.agent.thought_id", shapes.word(shapes.column(result, "id") if not isinstance(result, str) else result))]
    )
    # The runner's generator is stepped in the agent's context: from now on that is the round's, and for the rest of
    # this step the round is made current as well.
    agent.lend(call)


THOUGHT_CREATED = Tap(after=_thought_created)


def _thought_saved(arguments: Mapping[str, Any], enclosing: Any) -> None:
    call = enclosing.nearest("agent-round") if enclosing is not None else None
    agent = call.nearest("agent") if call is not None else None
    if call is None or agent is None:
        return
    facts: list[tuple[str, Any]] = []
    thought, observation = arguments.get("thought"), arguments.get("observation")
    if thought:
        facts.append(("dify.agent.thought", Content(thought)))
    if observation:
        facts.append(("dify.agent.observation", Content(observation)))
    usage = arguments.get("llm_usage")
    # A round's thought is saved again with what its tools answered, with the same usage or none.
    if usage is not None and not agent.state.get("round_used"):
        agent.state["round_used"] = True
        facts.append(("dify.usage.total_tokens", getattr(usage, "total_tokens", None)))
        _add(agent, usage)
    if arguments.get("tool_name"):
        call.state["reason"] = "tool_calls"
    if thought and rules.policy().content and isinstance(thought, str):
        agent.state["answer"] = thought
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
    name, provider = shapes.word(getattr(identity, "name", None)), shapes.word(getattr(identity, "provider", None))
    yield "gen_ai.operation.name", "invoke_agent"
    yield "gen_ai.agent.name", (node.fact("dify.node.title") if node is not None else None) or name
    yield "gen_ai.agent.description", shapes.word(getattr(getattr(declaration, "description", None), "en_US", None))
    yield "dify.agent.strategy", name
    yield "dify.agent.strategy_provider", provider
    yield "dify.plugin.name", shapes.plugin(provider)
    if isinstance(chosen, Mapping):
        yield "gen_ai.request.model", shapes.word(chosen.get("model"))
    if isinstance(params, Mapping):
        maximum = params.get("maximum_iterations")
        yield "dify.agent.max_iterations", int(maximum) if isinstance(maximum, int | float) else None
        tools = params.get("tools")
        if isinstance(tools, list | tuple):
            yield from _offered(
                shapes.column(shapes.column(tool, "identity"), "name") or shapes.column(tool, "tool_name")
                for tool in tools
            )
        yield from _asked(params.get("query"), params.get("instruction"))
    yield "dify.node.id", node.state.get("node") if node is not None else None


def _strategy_during(call: Any, message: Any) -> None:
    kind = shapes.word(getattr(message, "type", None))
    body = getattr(message, "message", None)
    if kind == "text":
        call.note_chunk()
        if rules.policy().content and call.state.get("size", 0) < _ANSWER_KEPT:
            text = shapes.word(getattr(body, "text", None)) or ""
            call.state.setdefault("texts", []).append(text)
            call.state["size"] = call.state.get("size", 0) + len(text)
    elif kind == "json":
        # Before Dify takes it out of the message, which is what the node's own usage is made of.
        values = getattr(body, "json_object", None)
        used = values.get("execution_metadata") if isinstance(values, Mapping) else None
        if isinstance(used, Mapping):
            call.state["used"] = dict(model.usage_facts(used))
    elif kind == "log":
        _strategy_log(call, body)


_ANSWER_KEPT = 65_536


def _strategy_log(call: Any, log: Any) -> None:
    """The plugin tells its rounds, model and tool calls as they begin and end. The calls themselves come back to Dify.

    Their spans are made there; here they are counted.
    """
    label, status = shapes.word(getattr(log, "label", None)) or "", shapes.word(getattr(log, "status", None))
    state, key = call.state, shapes.word(getattr(log, "id", None))
    if status == "error" and not call.failed:
        state["log_error"] = shapes.word(getattr(log, "error", None))
    if label.upper().startswith("ROUND"):
        if status == "start":
            _end_round(call, "tool_calls")
            if _begin_round(call) is not None:
                state["round_id"] = key
        elif key is not None and key == state.get("round_id"):
            _strategy_round_over(call, log, status)
    elif status == "start" and getattr(log, "parent_id", None):
        if label.startswith("CALL "):
            state["tools"] = state.get("tools", 0) + 1
            state["round_tools"] = True
        elif label.endswith(" Thought"):
            state["model_calls"] = state.get("model_calls", 0) + 1


def _strategy_round_over(call: Any, log: Any, status: str | None) -> None:
    current = call.state.get("round_call")
    if current is None:
        return
    metadata = getattr(log, "metadata", None)
    tokens = metadata.get("total_tokens") if isinstance(metadata, Mapping) else None
    data = getattr(log, "data", None)
    current.tell(
        [
            ("dify.usage.total_tokens", tokens if isinstance(tokens, int) and tokens else None),
            ("dify.agent.observation", Content(data) if data else None),
        ]
    )
    if status == "error":
        current.error(Error("round_failed", shapes.word(getattr(log, "error", None))))
    called = call.state.pop("round_tools", False)
    _end_round(call, "error" if status == "error" else "tool_calls" if called else "stop")


def _strategy_after(call: Any, result: Any) -> Iterator[Any]:
    rounds = call.state.get("rounds")
    yield from _stopped(call)
    reason = "cancelled" if call.state.get("cancelled") else "error" if call.failed else "stop"
    _end_round(call, reason)
    yield "dify.agent.iterations", rounds
    yield "dify.agent.finish_reason", reason
    yield "dify.agent.tool_calls", call.state.get("tools")
    yield from call.state.get("used", {}).items()
    yield from _answered("".join(call.state["texts"])) if call.state.get("texts") else ()
    first = call.chunk()
    yield "gen_ai.response.time_to_first_chunk", round(first, 6) if first is not None else None
    if rounds:
        yield Measure("dify.agent.iterations", rounds, {"finish_reason": reason})
    yield _duration(call)
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
    yield "gen_ai.agent.description", app.state.get("description") if app is not None else None
    yield "gen_ai.provider.name", semconv.provider_name(provider)
    yield "dify.model.provider", provider
    yield "dify.agent.id", shapes.word(arguments.get("agent_id"))
    yield "dify.agent.version", shapes.word(arguments.get("agent_config_snapshot_id"))
    yield "gen_ai.request.model", shapes.word(arguments.get("model_name"))
    yield "dify.message.id", shapes.word(arguments.get("message_id"))
    yield "gen_ai.conversation.id", shapes.word(arguments.get("conversation_id"))
    yield "dify.agent.strategy", "agent_backend"
    yield from _asked(arguments.get("query"))


def _backend_opened(call: Any, arguments: Mapping[str, Any]) -> None:
    provider = shapes.word(getattr(getattr(arguments.get("agent_soul"), "model", None), "model_provider", None))
    model_name = shapes.word(arguments.get("model_name"))
    call.state["labels"] = {"gen_ai.provider.name": semconv.provider_name(provider), "gen_ai.request.model": model_name}


def _backend_after(call: Any, result: Any) -> Iterator[Any]:
    yield from _stopped(call)
    yield from _outcome(call)
    yield from _calls(call)
    yield _duration(call)


def _outcome(call: Any) -> Iterator[Any]:
    """What came of a run in the agent backend, on the agent's span."""
    usage = call.state.get("usage")
    if usage is not None:
        yield from model.usage_facts(usage)
        yield from model.usage_measures(call, usage, "invoke_agent")
    first = call.chunk()
    yield "gen_ai.response.time_to_first_chunk", round(first, 6) if first is not None else None
    yield "dify.agent.iterations", call.state.get("rounds")
    yield "dify.agent.tool_calls", call.state.get("tools")
    yield "dify.agent.finish_reason", _reason(call)


def _reason(call: Any) -> str:
    return "cancelled" if call.state.get("cancelled") else "error" if call.failed else "stop"


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
    # The agent node of workflows (1.15.0 and later) has no call of its own around: this is its agent then.
    agent = call.nearest("agent") or call
    if kind == "PydanticAIStreamRunEvent":
        if getattr(event, "agent_message_delta", None):
            call.note_chunk()
            agent.note_chunk()
        _backend_round(agent, data)
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
    elif kind == "RunSucceededEvent":
        agent.state["usage"] = shapes.column(data, "usage")
        agent.tell(_answered(shapes.column(data, "output")))


def _backend_round(agent: Any, data: Any) -> None:
    """A model's answer has parts, of which the first is number 0: another round has begun."""
    if shapes.word(shapes.column(data, "event_kind")) != "part_start" or shapes.column(data, "index") != 0:
        return
    _end_round(agent, "tool_calls")
    _begin_round(agent)


def _backend_tool(call: Any, agent: Any, data: Any) -> None:
    """A tool that the backend calls on its side: its span is as long as between the events that tell of it."""
    kind = shapes.word(shapes.column(data, "event_kind"))
    if kind == "function_tool_call":
        part = shapes.column(data, "part")
        name, key = shapes.word(shapes.column(part, "tool_name")), shapes.word(shapes.column(part, "tool_call_id"))
        agent.state["tools"] = agent.state.get("tools", 0) + 1
        inside = agent.state.get("round_call")
        open_tools = call.state.setdefault("open", {})
        if key is None or len(open_tools) >= _OPEN_MAX:
            return
        from .core import span  # loads OpenTelemetry: not before Dify runs

        arguments = {"name": name, "id": key, "args": shapes.column(part, "args")}
        arguments |= {"agent": agent.fact("gen_ai.agent.name"), "context": (inside or call).context}
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
    yield "gen_ai.agent.name", arguments["agent"]
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
    labels = {**labels, "gen_ai.operation.name": "execute_tool", "gen_ai.tool.type": call.fact("gen_ai.tool.type")}
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
    if enclosing is not None and enclosing.nearest("agent") is not None:
        yield "span_kind", "TASK"
        return
    node = enclosing.nearest("node") if enclosing is not None else None
    yield "gen_ai.operation.name", "invoke_agent"
    yield "gen_ai.agent.name", node.fact("dify.node.title") if node is not None else None
    yield "dify.agent.strategy", "agent_backend"


def _events_name(facts: Mapping[str, Any]) -> str:
    return _name(facts) if "gen_ai.operation.name" in facts else "agent_backend run"


def _events_after(call: Any, result: Any) -> Iterator[Any]:
    for begun in call.state.pop("open", {}).values():
        begun.finish(None)
    _end_round(call.nearest("agent") or call, _reason(call))
    if call.state.get("cancelled"):
        yield "dify.stream.outcome", "cancelled"
    if call.nearest("agent") is None:
        yield from _outcome(call)
        yield _duration(call)
        shapes.blame(call)
        return
    first = call.chunk()
    yield "gen_ai.response.time_to_first_chunk", round(first, 6) if first is not None else None


EVENTS = Operation(
    concept="agent-backend",
    name=_events_name,
    before=_events_before,
    during=_events_during,
    after=_events_after,
    kind="client",
    span_kind="AGENT",
)
