from collections.abc import Generator
from typing import Any

from core.agent.entities import AgentInvokeMessage
from core.plugin.impl.base import BasePluginClient


class PluginAgentClient(BasePluginClient):
    def invoke(
        self,
        tenant_id: str,
        user_id: str,
        agent_provider: str,
        agent_strategy: str,
        agent_params: dict[str, Any],
        conversation_id: str | None = None,
        app_id: str | None = None,
        message_id: str | None = None,
        context: Any | None = None,
    ) -> Generator[AgentInvokeMessage, None, None]:
        plugin_id, _, provider = agent_provider.rpartition("/")
        return self._request_with_plugin_daemon_response_stream(
            "POST",
            f"plugin/{tenant_id}/dispatch/agent_strategy/invoke",
            AgentInvokeMessage,
            data={
                "user_id": user_id,
                "conversation_id": conversation_id,
                "app_id": app_id,
                "message_id": message_id,
                "data": {
                    "agent_strategy_provider": provider,
                    "agent_strategy": agent_strategy,
                    "agent_strategy_params": agent_params,
                },
            },
            headers={"X-Plugin-ID": plugin_id, "Content-Type": "application/json"},
        )
