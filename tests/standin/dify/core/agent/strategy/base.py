"""An agent strategy runs inside a plugin; here it is a stream of messages."""

from abc import ABC, abstractmethod
from collections.abc import Generator
from typing import Any

from core.agent.entities import AgentInvokeMessage


class BaseAgentStrategy(ABC):
    def invoke(
        self,
        params: dict[str, Any],
        user_id: str,
        conversation_id: str | None = None,
        app_id: str | None = None,
        message_id: str | None = None,
        credentials: Any | None = None,
    ) -> Generator[AgentInvokeMessage, None, None]:
        yield from self._invoke(params, user_id, conversation_id, app_id, message_id, credentials)

    @abstractmethod
    def _invoke(
        self,
        params: dict[str, Any],
        user_id: str,
        conversation_id: str | None = None,
        app_id: str | None = None,
        message_id: str | None = None,
        credentials: Any | None = None,
    ) -> Generator[AgentInvokeMessage, None, None]:
        raise NotImplementedError
