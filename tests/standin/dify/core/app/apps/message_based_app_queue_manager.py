from core.app.apps.base_app_queue_manager import AppQueueManager, PublishFrom
from core.app.apps.exc import GenerateTaskStoppedError
from core.app.entities.app_invoke_entities import InvokeFrom
from core.app.entities.queue_entities import (
    AppQueueEvent,
    MessageQueueMessage,
    QueueAdvancedChatMessageEndEvent,
    QueueErrorEvent,
    QueueMessageEndEvent,
    QueueStopEvent,
    QueueWorkflowFailedEvent,
    QueueWorkflowPartialSuccessEvent,
    QueueWorkflowPausedEvent,
)

_TERMINAL = (
    QueueStopEvent,
    QueueErrorEvent,
    QueueMessageEndEvent,
    QueueAdvancedChatMessageEndEvent,
    QueueWorkflowPausedEvent,
)
_EXECUTION_ENDS = (QueueWorkflowFailedEvent, QueueWorkflowPartialSuccessEvent)


class MessageBasedAppQueueManager(AppQueueManager):
    def __init__(
        self,
        task_id: str,
        user_id: str,
        invoke_from: InvokeFrom,
        conversation_id: str,
        app_mode: str,
        message_id: str,
    ):
        super().__init__(task_id, user_id, invoke_from)
        self._conversation_id = str(conversation_id)
        self._app_mode = app_mode
        self._message_id = str(message_id)

    def _publish(self, event: AppQueueEvent, pub_from: PublishFrom) -> None:
        self._q.put(
            MessageQueueMessage(
                task_id=self._task_id,
                message_id=self._message_id,
                conversation_id=self._conversation_id,
                app_mode=self._app_mode,
                event=event,
            )
        )
        if isinstance(event, _TERMINAL):
            self.stop_listen(execution_terminal=pub_from == PublishFrom.APPLICATION_MANAGER)
        elif isinstance(event, _EXECUTION_ENDS):
            self._execution_terminal.set()
        if pub_from == PublishFrom.APPLICATION_MANAGER and self._is_stopped():
            raise GenerateTaskStoppedError()
