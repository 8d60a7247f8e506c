"""Every kind of tool is run by `Tool.invoke`, which hands out a generator of messages."""

from abc import ABC, abstractmethod
from collections.abc import Generator
from copy import deepcopy
from typing import Any

from sqlalchemy.orm import Session

from core.tools.__base.tool_runtime import ToolRuntime
from core.tools.entities.tool_entities import ToolEntity, ToolInvokeMessage, ToolParameter, ToolProviderType


class Tool(ABC):
    def __init__(self, entity: ToolEntity, runtime: ToolRuntime):
        self.entity = entity
        self.runtime = runtime

    def fork_tool_runtime(self, runtime: ToolRuntime) -> "Tool":
        return self.__class__(entity=self.entity.model_copy(), runtime=runtime)

    @abstractmethod
    def tool_provider_type(self) -> ToolProviderType:
        raise NotImplementedError

    def invoke(
        self,
        session: Session,
        user_id: str,
        tool_parameters: dict[str, Any],
        conversation_id: str | None = None,
        app_id: str | None = None,
        message_id: str | None = None,
    ) -> Generator[ToolInvokeMessage, None, None]:
        if self.runtime and self.runtime.runtime_parameters:
            tool_parameters.update(self.runtime.runtime_parameters)
        result = self._invoke(
            session=session,
            user_id=user_id,
            tool_parameters=self._transform_tool_parameters_type(tool_parameters),
            conversation_id=conversation_id,
            app_id=app_id,
            message_id=message_id,
        )
        if isinstance(result, ToolInvokeMessage):
            return self._each([result])
        if isinstance(result, list):
            return self._each(result)
        return result

    @staticmethod
    def _each(messages: list[ToolInvokeMessage]) -> Generator[ToolInvokeMessage, None, None]:
        yield from messages

    def _transform_tool_parameters_type(self, tool_parameters: dict[str, Any]) -> dict[str, Any]:
        result = deepcopy(tool_parameters)
        for parameter in self.entity.parameters:
            if parameter.name in result and parameter.type == ToolParameter.ToolParameterType.STRING:
                result[parameter.name] = str(result[parameter.name])
        return result

    @abstractmethod
    def _invoke(
        self,
        session: Session,
        user_id: str,
        tool_parameters: dict[str, Any],
        conversation_id: str | None = None,
        app_id: str | None = None,
        message_id: str | None = None,
    ) -> ToolInvokeMessage | list[ToolInvokeMessage] | Generator[ToolInvokeMessage, None, None]:
        raise NotImplementedError

    def get_runtime_parameters(
        self, conversation_id: str | None = None, app_id: str | None = None, message_id: str | None = None
    ) -> list[ToolParameter]:
        return self.entity.parameters

    def get_merged_runtime_parameters(
        self, conversation_id: str | None = None, app_id: str | None = None, message_id: str | None = None
    ) -> list[ToolParameter]:
        return list(self.get_runtime_parameters())

    def create_text_message(self, text: str) -> ToolInvokeMessage:
        return ToolInvokeMessage(
            type=ToolInvokeMessage.MessageType.TEXT, message=ToolInvokeMessage.TextMessage(text=text)
        )

    def create_json_message(self, object: dict[str, Any], suppress_output: bool = False) -> ToolInvokeMessage:
        return ToolInvokeMessage(
            type=ToolInvokeMessage.MessageType.JSON,
            message=ToolInvokeMessage.JsonMessage(json_object=object, suppress_output=suppress_output),
        )
