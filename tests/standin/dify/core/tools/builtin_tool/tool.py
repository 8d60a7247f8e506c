from collections.abc import Generator
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from core.tools.__base.tool import Tool
from core.tools.__base.tool_runtime import ToolRuntime
from core.tools.entities.tool_entities import ToolEntity, ToolInvokeMessage, ToolProviderType


class BuiltinTool(Tool):
    provider: str

    def __init__(self, provider: str, entity: ToolEntity, runtime: ToolRuntime):
        super().__init__(entity, runtime)
        self.provider = provider

    def tool_provider_type(self) -> ToolProviderType:
        return ToolProviderType.BUILT_IN


class CurrentTimeTool(BuiltinTool):
    """Dify's `time/current_time`: answers within the process, as a generator."""

    def _invoke(
        self,
        session: Session,
        user_id: str,
        tool_parameters: dict[str, Any],
        conversation_id: str | None = None,
        app_id: str | None = None,
        message_id: str | None = None,
    ) -> Generator[ToolInvokeMessage, None, None]:
        yield self.create_text_message(datetime.now(UTC).isoformat(timespec="seconds"))
