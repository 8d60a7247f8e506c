from abc import ABC, abstractmethod

from core.tools.entities.tool_entities import ToolInvokeMessage


class Tool(ABC):
    def __init__(self, entity, runtime):
        self.entity = entity
        self.runtime = runtime

    @abstractmethod
    def tool_provider_type(self): ...

    def invoke(self, user_id, tool_parameters, conversation_id=None, app_id=None, message_id=None):
        result = self._invoke(
            user_id=user_id,
            tool_parameters=dict(tool_parameters),
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
    def _each(messages):
        yield from messages

    @abstractmethod
    def _invoke(self, user_id, tool_parameters, conversation_id=None, app_id=None, message_id=None): ...
