"""Finds a tool by provider and name."""

from collections.abc import Mapping
from typing import Any

from graphon.model_runtime.entities.common_entities import I18nObject

from configs import dify_config
from core.app.entities.app_invoke_entities import InvokeFrom
from core.tools.__base.tool import Tool
from core.tools.__base.tool_runtime import ToolRuntime
from core.tools.builtin_tool.tool import CurrentTimeTool
from core.tools.entities.tool_entities import (
    ToolDescription,
    ToolEntity,
    ToolIdentity,
    ToolInvokeFrom,
    ToolParameter,
    ToolProviderType,
)
from core.tools.errors import ToolNotFoundError
from core.tools.mcp_tool.tool import MCPTool
from core.tools.plugin_tool.tool import PluginTool
from core.tools.workflow_as_tool.tool import WorkflowTool

PLUGIN_PROVIDER = "langgenius/stubtool/stubtool"
MCP_PROVIDER = "standin-mcp"


def _entity(provider: str, name: str, parameters: list[str]) -> ToolEntity:
    return ToolEntity(
        identity=ToolIdentity(author="standin", name=name, label=I18nObject(en_US=name), provider=provider),
        parameters=[ToolParameter(name=parameter, required=True) for parameter in parameters],
        description=ToolDescription(human=I18nObject(en_US=name), llm=f"The tool {name}."),
    )


class ToolManager:
    @classmethod
    def get_tool_runtime(
        cls,
        provider_type: ToolProviderType,
        provider_id: str,
        tool_name: str,
        tenant_id: str,
        invoke_from: InvokeFrom = InvokeFrom.DEBUGGER,
        tool_invoke_from: ToolInvokeFrom = ToolInvokeFrom.AGENT,
        user_id: str | None = None,
        runtime_parameters: Mapping[str, Any] | None = None,
    ) -> Tool:
        runtime = ToolRuntime(
            tenant_id=tenant_id,
            user_id=user_id,
            invoke_from=invoke_from,
            tool_invoke_from=tool_invoke_from,
            credentials={"api_key": "a-secret-of-the-tool"},
            runtime_parameters=dict(runtime_parameters or {}),
        )
        if provider_type == ToolProviderType.WORKFLOW:
            return WorkflowTool(
                workflow_app_id=provider_id,
                entity=_entity(provider_id, tool_name, ["query"]),
                runtime=runtime,
            )
        if provider_id == "time" and tool_name == "current_time":
            return CurrentTimeTool(provider="time", entity=_entity("time", tool_name, []), runtime=runtime)
        if provider_id == PLUGIN_PROVIDER and tool_name in {"weather", "fail_tool", "picture"}:
            return PluginTool(
                entity=_entity(provider_id, tool_name, ["city"]),
                runtime=runtime,
                tenant_id=tenant_id,
                icon="",
                plugin_unique_identifier="langgenius/stubtool:0.0.1",
            )
        if provider_type == ToolProviderType.MCP and provider_id == MCP_PROVIDER:
            return MCPTool(
                entity=_entity(provider_id, tool_name, ["city"]),
                runtime=runtime,
                tenant_id=tenant_id,
                icon="",
                server_url=f"{dify_config.PLUGIN_DAEMON_URL}/mcp?key=a-secret-in-the-query",
                provider_id=provider_id,
            )
        raise ToolNotFoundError(f"tool {tool_name} of {provider_id} not found")

    @classmethod
    def get_workflow_tool_runtime(
        cls,
        tenant_id: str,
        app_id: str,
        node_id: str,
        workflow_tool: Any,
        user_id: str | None = None,
        invoke_from: InvokeFrom = InvokeFrom.DEBUGGER,
        variable_pool: Any = None,
    ) -> Tool:
        return cls.get_tool_runtime(
            provider_type=ToolProviderType(str(workflow_tool.provider_type)),
            provider_id=workflow_tool.provider_id,
            tool_name=workflow_tool.tool_name,
            tenant_id=tenant_id,
            invoke_from=invoke_from,
            tool_invoke_from=ToolInvokeFrom.WORKFLOW,
            user_id=user_id,
        )

    @classmethod
    def get_tool_label(cls, tool_name: str) -> I18nObject | None:
        return None
