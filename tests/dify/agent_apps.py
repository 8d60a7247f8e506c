"""Agent applications (1.15 and later): their steps are those of Dify's agent backend, which `DIFY_AGENT_PYTHON` names.

Like `further.py`. The backend is not ours to watch: what it did is told by its events, in Dify's worker.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from tests.dify.calls import Case
from tests.dify.console import PROVIDER, TOOL, Application
from tests.dify.further import Lacking, Stage, _below, _has

_SPANS = ("dify.app", "invoke_agent", "agent_backend run")


_PLUGINS_TOOL = {
    "provider_type": "plugin",
    "plugin_id": TOOL.rpartition("/")[0],
    "provider": TOOL.rpartition("/")[2],
}


def _agent(stage: Stage, name: str, model: str, tool: Mapping[str, Any]) -> tuple[Application, str]:
    stage.needs(f"/console/api/agent/{uuid.uuid4()}/composer")
    if not os.environ.get("DIFY_AGENT_PYTHON"):
        raise Lacking("DIFY_AGENT_PYTHON names no interpreter with Dify's agent backend")
    looks = {"icon_type": "emoji", "icon": "A", "icon_background": "#FFEAD5", "description": name, "role": "helper"}
    name = f"{name}-{uuid.uuid4().hex[:6]}"
    made = stage.console.request("POST", "/agent", {"name": name, **looks})
    plugin, _, provider = PROVIDER.rpartition("/")
    soul: dict[str, Any] = {
        "prompt": {"system_prompt": "You are helpful."},
        "model": {"plugin_id": plugin, "model_provider": provider, "model": model},
        "tools": {"dify_tools": [{**tool, "credential_type": "unauthorized"}]},
    }
    saved = {"variant": "agent_app", "agent_soul": soul, "save_strategy": "save_to_current_version"}
    identifier = made["agent_id"] if "agent_id" in made else made["id"]
    stage.console.request("PUT", f"/agent/{identifier}/composer", saved)
    stage.console.request("POST", f"/agent/{identifier}/publish", {})
    stage.console.request("POST", f"/agent/{identifier}/api-enable", {"enable_api": True})
    key = stage.console.request("POST", f"/agent/{identifier}/api-keys", {})["token"]
    return Application(made.get("app_id") or made["id"], "agent", key), name


def agent_application(stage: Stage) -> list[str]:
    app, name = _agent(stage, "helps", "stub-chat", _PLUGINS_TOOL | {"tool_name": "weather"})
    case = Case("helps", "stream", "ok", (*_SPANS, "execute_tool weather"))
    spans, found = stage.judge(case, stage.call(app, case))
    agent = {"gen_ai.agent.name": name, "dify.agent.strategy": "agent_backend", "gen_ai.request.model": "stub-chat"}
    agent |= {"dify.agent.iterations": 2, "dify.agent.tool_calls": 1, "dify.agent.finish_reason": "stop"}
    found += _has(spans, "invoke_agent", agent | {"dify.usage.cost.currency": "USD"})
    for number, reason in ((1, "tool_calls"), (2, "stop")):
        found += _has(spans, f"react step {number}", {"gen_ai.react.finish_reason": reason})
    for name in ("input", "output"):
        told = [s.attributes.get(f"gen_ai.usage.{name}_tokens") for s in spans if s.name.startswith("invoke_agent")]
        found += [] if all(isinstance(tokens, int) and tokens > 0 for tokens in told) else [f"{name} tokens are {told}"]
    return found + _below(spans, "execute_tool weather", "react step 1") + _below(spans, "react step", "invoke_agent")


def agent_application_whose_model_fails(stage: Stage) -> list[str]:
    app, _ = _agent(stage, "fails", "fail-model", _PLUGINS_TOOL | {"tool_name": "weather"})
    case = Case("fails", "stream", "error", _SPANS, errors=("agent_backend run", "invoke_agent", "dify.app"))
    spans, found = stage.judge(case, stage.call(app, case))
    return found + _has(spans, "invoke_agent", {"dify.agent.finish_reason": "error"})


def agent_application_whose_tool_fails(stage: Stage) -> list[str]:
    app, _ = _agent(stage, "tool-fails", "stub-chat", _PLUGINS_TOOL | {"tool_name": "fail_tool"})
    case = Case("tool-fails", "stream", "ok", (*_SPANS, "execute_tool fail_tool"))
    return stage.judge(case, stage.call(app, case))[1]


def agent_application_with_a_tool_of_difys(stage: Stage) -> list[str]:
    own = {"provider_type": "builtin", "provider_id": "time", "provider": "time", "tool_name": "current_time"}
    app, _ = _agent(stage, "own-tool", "stub-chat", own)
    case = Case("own-tool", "stream", "ok", (*_SPANS, "execute_tool current_time"))
    spans, found = stage.judge(case, stage.call(app, case))
    # The backend passes the trace on, with spans of its own between that it sends nowhere here.
    by_id = {span.span_id for span in spans}
    tops = sorted(span.name for span in spans if span.parent_id not in by_id)
    wrong = tops != ["POST /inner/api/agent/tools/invoke", "POST /v1/chat-messages"]
    found = [line for line in found if not line.startswith("the tops are")]
    return [*found, f"the tops are {tops}"] if wrong else found


KINDS: Mapping[str, Callable[[Stage], list[str]]] = {
    kind.__name__: kind
    for kind in (
        *(agent_application, agent_application_whose_model_fails),
        *(agent_application_whose_tool_fails, agent_application_with_a_tool_of_difys),
    )
}
