"""Agents that take several steps: in words (ReAct) and by function calls, with tools that fail, datasets, workflows.

Like `further.py`; the stand-in's models ask their first tool about two cities before they answer.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dify_otel.tail.span import Span

from tests.dify import console, judgement
from tests.dify.calls import Case
from tests.dify.console import Application
from tests.dify.further import Lacking, Stage, _below, _has
from tests.standin import graphs

_MODE = ("dify.app", "invoke_agent", "react step 1", "react step 2")


def _agent(stage: Stage, name: str, model: str, *tools: Mapping[str, Any], strategy: str, **more: Any) -> Application:
    mode = {"enabled": True, "max_iteration": 5, "strategy": strategy, "prompt": None, "tools": list(tools)}
    return stage.console.basic(name, "agent-chat", model, agent_mode=mode, **more)


def _tool(name: str) -> Mapping[str, Any]:
    (described,) = console._agent_mode(name)["tools"]
    return described  # type: ignore[no-any-return]


def _steps(spans: Sequence[Span], tool: str, steps: int, failed: bool = False) -> list[str]:
    """The last step answers, each of the others asks a model and a tool."""
    by_id = {span.span_id: span for span in spans}
    found = []
    for number in range(1, steps + 1):
        inside = [s for s in spans if any(a.name == f"react step {number}" for a in judgement.above(s, by_id))]
        told = [s.name.split()[0] for s in inside if s.name.startswith(("chat ", "execute_tool "))]
        wanted = ["chat", "execute_tool"] if number < steps else ["chat"]
        if sorted(told) != wanted:
            found.append(f"in step {number} are {[s.name for s in inside]}, not {wanted}")
        reason = "tool_calls" if number < steps else "stop"
        found += _has(
            spans, f"react step {number}", {"gen_ai.react.round": number, "gen_ai.react.finish_reason": reason}
        )
    named = [s for s in spans if s.name == f"execute_tool {tool}"]
    if len(named) != steps - 1 or any(s.failed != failed for s in named):
        found.append(f"{[(s.name, s.failed) for s in named]} instead of {steps - 1} of {tool}, failed: {failed}")
    whole = {"dify.agent.iterations": steps, "dify.agent.tool_calls": steps - 1, "dify.agent.finish_reason": "stop"}
    return found + _has(spans, "invoke_agent", whole | {"gen_ai.operation.name": "invoke_agent"})


def _asked(stage: Stage, app: Application, name: str, tool: str, strategy: str, failed: bool = False) -> list[str]:
    errors = (f"execute_tool {tool}",) if failed else ()
    case = Case(name, "stream", "ok", (*_MODE, "chat ", f"execute_tool {tool}"), errors=errors)
    spans, found = stage.judge(case, stage.call(app, case))
    found += _has(spans, "invoke_agent", {"dify.agent.strategy": strategy, "dify.app_id": app.id})
    return found + _steps(spans, tool, 3, failed)


def steps_in_words(stage: Stage) -> list[str]:
    app = _agent(stage, "in-words", "stub-react", _tool("weather"), strategy="react")
    return _asked(stage, app, "in-words", "weather", "chain-of-thought")


def failing_steps_in_words(stage: Stage) -> list[str]:
    app = _agent(stage, "in-words-fail", "stub-react", _tool("fail_tool"), strategy="react")
    return _asked(stage, app, "in-words-fail", "fail_tool", "chain-of-thought", failed=True)


def steps_by_calls(stage: Stage) -> list[str]:
    app = _agent(stage, "by-calls", "stub-rounds", _tool("weather"), strategy="function_call")
    return _asked(stage, app, "by-calls", "weather", "function-calling")


def failing_steps_by_calls(stage: Stage) -> list[str]:
    app = _agent(stage, "by-calls-fail", "stub-rounds", _tool("fail_tool"), strategy="function_call")
    return _asked(stage, app, "by-calls-fail", "fail_tool", "function-calling", failed=True)


def dataset_as_a_tool(stage: Stage) -> list[str]:
    if not stage.vectors:
        raise Lacking("no vector database here")
    dataset = stage.console.dataset()
    found: Mapping[str, Any] = {"datasets": {"datasets": [{"dataset": {"enabled": True, "id": dataset}}]}}
    configured = {"retrieval_model": "multiple", "score_threshold_enabled": False, **console._reranking(), **found}
    app = _agent(stage, "looks-up", "stub-chat", strategy="function_call", dataset_configs=configured)
    case = Case("looks-up", "stream", "ok", (*_MODE, "chat ", "execute_tool dataset_", "retrieval"))
    spans, wrong = stage.judge(case, stage.call(app, case))
    wrong += _has(spans, "execute_tool dataset_", {"gen_ai.tool.type": "datastore"})
    return wrong + _below(spans, "retrieval", "execute_tool dataset_")


def workflow_as_a_tool(stage: Stage) -> list[str]:
    name = f"asked_{uuid.uuid4().hex[:8]}"
    inner = stage.console.workflow("asked-by-agent", "workflow", graphs.model_graph("stub-chat"))
    described = {
        **dict.fromkeys(("name", "label", "description"), name),
        "workflow_app_id": inner.id,
        "icon": {"content": "A", "background": "#FFEAD5"},
        "parameters": [{"name": "query", "description": "what is asked", "form": "llm"}],
        "labels": [],
    }
    tools = "/workspaces/current/tool-provider/workflow"
    stage.console.request("POST", f"{tools}/create", described)
    provider = stage.console.request("GET", f"{tools}/get?workflow_app_id={inner.id}")["workflow_tool_id"]
    tool = {**_tool("weather"), "provider_type": "workflow", "provider_id": provider, "provider_name": name}
    tool |= {"tool_name": name, "tool_label": name, "tool_parameters": {"query": ""}}
    app = _agent(stage, "asks-a-workflow", "stub-rounds", tool, strategy="function_call")
    kinds = (*_MODE, f"execute_tool {name}", "dify.app asked-by-agent", "invoke_workflow asked-by-agent")
    case = Case("asks-a-workflow", "stream", "ok", kinds)
    spans, found = stage.judge(case, stage.call(app, case))
    found += _below(spans, "invoke_workflow", f"execute_tool {name}")
    found += _has(spans, "invoke_agent", {"dify.agent.iterations": 3, "dify.agent.tool_calls": 2})
    return found + _has(spans, "dify.app asked-by-agent", {"dify.parent.app_id": app.id})


KINDS: Mapping[str, Callable[[Stage], list[str]]] = {
    kind.__name__: kind
    for kind in (
        *(steps_in_words, failing_steps_in_words, steps_by_calls, failing_steps_by_calls),
        *(dataset_as_a_tool, workflow_as_a_tool),
    )
}
