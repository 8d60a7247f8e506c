"""A tool on an MCP server, in real processes: its requests lie under the tool's span, and nothing secret leaves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dify_otel.tail.span import Span

from tests.process.conftest import settle
from tests.standin import drive


def test_requests_of_an_mcp_tool_lie_under_its_span(doors: Mapping[str, Any], start: Any) -> None:
    with start(doors["inject"], api={"name": "api-mcp"}, worker={"name": "worker-mcp"}) as up:
        parent, trace_id = drive.traceparent()
        body = {
            "user_id": "standin-user",
            "tenant_id": up.servers.seeded["tenant_id"],
            "tool_type": "mcp",
            "provider": "standin-mcp",
            "tool": "weather",
            "tool_parameters": {"city": "canary-city"},
        }
        headers = {"X-Inner-Api-Key": "inner-key", "traceparent": parent}
        status, answer = drive.request("POST", f"{up.servers.base}/inner/api/invoke/tool", body, headers)
        assert status == 200 and b"sunny" in answer

        def arrived(spans: list[Span]) -> list[Span]:
            mine = [s for s in spans if s.trace_id == trace_id]
            return mine if any(s.name.startswith("POST /inner") for s in mine) else []

        up.receiver.wait_for(arrived, 20.0)
        settle(up.receiver)
        spans = [s for s in up.receiver.spans if s.trace_id == trace_id]
    named = {s.name: s for s in spans}
    tool = named["execute_tool weather"]
    asked = [named["initialize"], named["tools/call weather"]]
    assert [s.parent_id for s in asked] == [tool.span_id] * 2
    assert [s.attributes["jsonrpc.request.id"] for s in asked] == ["0", "1"]
    assert asked[0].attributes["mcp.protocol.version"] == "2025-06-18"
    told = str([(s.name, s.attributes) for s in spans])
    for secret in ("canary-city", "sunny", "a-secret-in-the-query", "a-secret-of-the-tool"):
        assert secret not in told
