from collections.abc import Generator
from typing import Any

from core.agent.entities import AgentInvokeMessage
from core.agent.strategy.base import BaseAgentStrategy
from core.plugin.impl.agent import PluginAgentClient


class PluginAgentStrategy(BaseAgentStrategy):
    def __init__(self, tenant_id: str, provider: str, name: str) -> None:
        self.tenant_id = tenant_id
        self.provider = provider
        self.name = name

    def _invoke(
        self,
        params: dict[str, Any],
        user_id: str,
        conversation_id: str | None = None,
        app_id: str | None = None,
        message_id: str | None = None,
        credentials: Any | None = None,
    ) -> Generator[AgentInvokeMessage, None, None]:
        yield from PluginAgentClient().invoke(
            tenant_id=self.tenant_id,
            user_id=user_id,
            agent_provider=self.provider,
            agent_strategy=self.name,
            agent_params=params,
            conversation_id=conversation_id,
            app_id=app_id,
            message_id=message_id,
        )
