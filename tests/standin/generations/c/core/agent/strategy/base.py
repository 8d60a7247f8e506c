from abc import ABC, abstractmethod


class BaseAgentStrategy(ABC):
    def invoke(self, params, user_id, conversation_id=None, app_id=None, message_id=None, credentials=None):
        yield from self._invoke(params, user_id)

    @abstractmethod
    def _invoke(self, params, user_id): ...
