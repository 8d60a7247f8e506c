from datetime import timedelta
from typing import Any

from core.mcp import types
from core.mcp.session.base_session import BaseSession


class ClientSession(BaseSession):
    def initialize(self) -> types.InitializeResult:
        parameters = types.InitializeRequestParams(
            protocolVersion=types.LATEST_PROTOCOL_VERSION,
            capabilities={},
            clientInfo={"name": "Dify", "version": "standin"},
        )
        request = types.ClientRequest(types.InitializeRequest(params=parameters))
        return self.send_request(request, types.InitializeResult)

    def call_tool(
        self,
        name: str,
        arguments: dict[str, Any] | None = None,
        read_timeout_seconds: timedelta | None = None,
    ) -> types.CallToolResult:
        parameters = types.CallToolRequestParams(name=name, arguments=arguments)
        return self.send_request(
            types.ClientRequest(types.CallToolRequest(params=parameters)),
            types.CallToolResult,
            request_read_timeout_seconds=read_timeout_seconds,
        )
