from collections.abc import Generator
from typing import Any

from sqlalchemy.orm import Session

from core.callback_handler.agent_tool_callback_handler import DifyWorkflowCallbackHandler
from core.tools.entities.tool_entities import ToolInvokeFrom, ToolInvokeMessage, ToolProviderType
from core.tools.tool_engine import ToolEngine
from core.tools.tool_manager import ToolManager


class PluginToolBackwardsInvocation:
    @classmethod
    def invoke_tool(
        cls,
        session: Session,
        tenant_id: str,
        user_id: str,
        tool_type: str,
        provider: str,
        tool_name: str,
        tool_parameters: dict[str, Any],
        credential_id: str | None = None,
    ) -> Generator[ToolInvokeMessage, None, None]:
        tool = ToolManager.get_tool_runtime(
            provider_type=ToolProviderType(tool_type),
            provider_id=provider,
            tool_name=tool_name,
            tenant_id=tenant_id,
            tool_invoke_from=ToolInvokeFrom.PLUGIN,
            user_id=user_id,
        )
        return ToolEngine.generic_invoke(
            session=session,
            tool=tool,
            tool_parameters=tool_parameters,
            user_id=user_id,
            workflow_tool_callback=DifyWorkflowCallbackHandler(),
            workflow_call_depth=1,
        )
