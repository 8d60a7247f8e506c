"""MCP both ways: an application that Dify offers as a server's tool, and a stranger's server whose tool an agent asks.

Like `further.py`. The stranger is a server of this process: what it was sent is seen here.
"""

from __future__ import annotations

import contextlib
import json
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests.dify import console
from tests.dify.calls import RUN, Case
from tests.dify.further import MODEL, Stage, _below, _has
from tests.standin import graphs
from tests.standin.drive import QUERY, Outcome
from tests.standin.services.plugin_daemon import mcp_result
from tests.standin.services.recording import QuietServer, RecordingHandler


def _request(method: str, **parameters: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}


def _offered(stage: Stage, mode: str, graph: graphs.Graph | None) -> list[str]:
    stage.needs(f"/console/api/apps/{uuid.uuid4()}/server")
    name = f"offered-{mode}"
    app = stage.console.workflow(name, mode, graph) if graph is not None else stage.console.basic(name, mode)
    described = {"description": "answers", "parameters": {"query": "what is asked"}}
    code = stage.console.request("POST", f"/apps/{app.id}/server", described)["server_code"]
    path = f"/mcp/server/{code}/mcp"
    client = {"name": "somebody", "version": "1"}
    stage.send("POST", path, _request("initialize", protocolVersion="2025-03-26", capabilities={}, clientInfo=client))
    _, listed = stage.send("POST", path, _request("tools/list"))
    (tool,) = listed["result"]["tools"]
    trace_id, answer = stage.send("POST", path, _request("tools/call", name=tool["name"], arguments={"query": QUERY}))
    said = answer["result"]["content"][0]["text"]
    kinds = (*(RUN if graph is not None else RUN[:1]), MODEL)
    case = Case(name, "mcp", "ok", kinds, top="POST /mcp/server/")
    spans, found = stage.judge(case, Outcome(name, status="ok" if said else "no answer", trace_id=trace_id))
    wanted = {"dify.app_id": app.id, "dify.invoke_from": "service-api", "dify.user.type": "end_user"}
    return found + _has(spans, "dify.app", wanted)


def offered_workflow(stage: Stage) -> list[str]:
    return _offered(stage, "workflow", graphs.model_graph("stub-chat"))


def offered_chat(stage: Stage) -> list[str]:
    return _offered(stage, "chat", None)


class _Weather(RecordingHandler):
    """An MCP server over HTTP with one tool."""

    def route(self) -> None:
        body = json.loads(self.body() or b"{}")
        self.remember(" ".join(filter(None, (body.get("method"), body.get("params", {}).get("protocolVersion")))))
        if "id" not in body:
            self.answer({}, 405 if self.command == "GET" else 202)
            return
        known = {"name": "weather", "description": "Weather", "inputSchema": _SCHEMA}
        result = {"tools": [known]} if body["method"] == "tools/list" else mcp_result(body)
        if body["method"] == "initialize":
            result = {**result, "serverInfo": {"name": "weather", "version": "1"}}
        self.answer({"jsonrpc": "2.0", "id": body["id"], "result": result})

    do_GET = do_POST = do_DELETE = route


_SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@contextlib.contextmanager
def _stranger() -> Iterator[str]:
    server = QuietServer(("127.0.0.1", 0), _Weather)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/mcp?key=a-secret-in-the-query"
    finally:
        server.shutdown()
        server.server_close()


def strangers_tool(stage: Stage) -> list[str]:
    """An agent asks it; no trace header reaches the stranger."""
    stage.needs(f"/console/api/workspaces/current/tool-provider/mcp/tools/{uuid.uuid4()}")
    name = f"weather-{uuid.uuid4().hex[:8]}"
    with _stranger() as url:
        looks = {"icon": "A", "icon_type": "emoji", "icon_background": "#FFEAD5"}
        server = {"server_url": url, "name": name, "server_identifier": name, "headers": {}, "configuration": {}}
        stage.console.request("POST", "/workspaces/current/tool-provider/mcp", {**looks, **server})
        # Dify 1.6's list of MCP tools has the server's identifier for an id.
        (listed,) = [p for p in stage.console.request("GET", "/workspaces/current/tool-providers") if p["name"] == name]
        if not listed["tools"]:
            stage.console.request("GET", f"/workspaces/current/tool-provider/mcp/update/{listed['id']}")
        (described,) = console._agent_mode("weather")["tools"]
        tool = {**described, "provider_type": "mcp", "provider_id": name, "provider_name": name}
        mode = {"enabled": True, "max_iteration": 5, "strategy": "function_call", "prompt": None, "tools": [tool]}
        app = stage.console.basic("asks-a-stranger", "agent-chat", agent_mode=mode)
        _Weather.seen.clear()
        case = Case(
            "asks-a-stranger", "stream", "ok", ("dify.app", "invoke_agent", "execute_tool weather", "tools/call")
        )
        spans, found = stage.judge(case, stage.call(app, case))
        asked = [seen for seen in _Weather.seen if seen["note"] == "tools/call"]
        versions = {seen["note"].split()[1] for seen in _Weather.seen if seen["note"].startswith("initialize ")}
    found += [] if asked else ["the stranger was not asked"]
    told = [seen for seen in asked if {"traceparent", "baggage"} & seen["headers"].keys()]
    found += [f"the stranger was told {told}"] if told else []
    found += _has(spans, "tools/call weather", {"mcp.method.name": "tools/call", "gen_ai.tool.name": "weather"})
    for version in versions or {"any"}:
        found += _has(spans, "initialize", {"mcp.protocol.version": version})
    if "a-secret-in-the-query" in str([(s.name, s.attributes) for s in spans]):
        found.append("the secret in the server's address is told")
    return found + _below(spans, "tools/call", "execute_tool weather")


KINDS: Mapping[str, Callable[[Stage], list[str]]] = {
    kind.__name__: kind for kind in (offered_workflow, offered_chat, strangers_tool)
}
