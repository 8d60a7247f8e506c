from collections.abc import Generator
from typing import Any

from sqlalchemy.orm import Session

from core.mcp.mcp_client import MCPClient
from core.mcp.types import CallToolResult
from core.tools.__base.tool import Tool
from core.tools.__base.tool_runtime import ToolRuntime
from core.tools.entities.tool_entities import ToolEntity, ToolInvokeMessage, ToolProviderType


class MCPTool(Tool):
    def __init__(
        self,
        entity: ToolEntity,
        runtime: ToolRuntime,
        tenant_id: str,
        icon: str,
        server_url: str,
        provider_id: str,
        headers: dict[str, str] | None = None,
        timeout: float | None = None,
        sse_read_timeout: float | None = None,
    ):
        super().__init__(entity, runtime)
        self.tenant_id = tenant_id
        self.icon = icon
        self.server_url = server_url
        self.provider_id = provider_id
        self.headers = headers or {}
        self.timeout = timeout
        self.sse_read_timeout = sse_read_timeout

    def tool_provider_type(self) -> ToolProviderType:
        return ToolProviderType.MCP

    def _invoke(
        self,
        session: Session,
        user_id: str,
        tool_parameters: dict[str, Any],
        conversation_id: str | None = None,
        app_id: str | None = None,
        message_id: str | None = None,
    ) -> Generator[ToolInvokeMessage, None, None]:
        result = self.invoke_remote_mcp_tool(tool_parameters, user_id=user_id, app_id=app_id)
        for content in result.content:
            yield self.create_text_message(content.text)

    def invoke_remote_mcp_tool(
        self, tool_parameters: dict[str, Any], user_id: str | None = None, app_id: str | None = None
    ) -> CallToolResult:
        with MCPClient(
            self.server_url, headers=self.headers, timeout=self.timeout, sse_read_timeout=self.sse_read_timeout
        ) as client:
            return client.invoke_tool(tool_name=self.entity.identity.name, tool_args=tool_parameters)
