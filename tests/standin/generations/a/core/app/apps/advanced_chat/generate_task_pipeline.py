from types import SimpleNamespace

from core.app.entities.queue_entities import QueueErrorEvent, QueueWorkflowEvent
from core.app.task_pipeline.based_generate_task_pipeline import BasedGenerateTaskPipeline
from core.workflow.graph_engine.entities.event import GraphRunFailedEvent, GraphRunSucceededEvent
from models.model import DATABASE, Message


class AdvancedChatAppGenerateTaskPipeline:
    def __init__(self, application_generate_entity, queue_manager, conversation, message, stream):
        self._base_task_pipeline = BasedGenerateTaskPipeline(application_generate_entity, queue_manager, stream)
        self._application_generate_entity = application_generate_entity
        self._conversation_id = conversation.id
        self._conversation_mode = conversation.mode
        self._message_id = message.id
        self._task_state = SimpleNamespace(answer="", metadata={})
        self._recorded_files = []
        self._workflow_run_id = application_generate_entity.workflow_run_id or ""
        self._queue_manager = queue_manager
        self._stream = stream

    def process(self):
        if self._stream:
            return self._events()
        last = {}
        for event in self._events():
            last = event
        return last

    def _events(self):
        for queued in self._queue_manager.listen():
            event = queued.event if isinstance(queued, QueueWorkflowEvent) else queued
            if isinstance(event, GraphRunFailedEvent):
                event = QueueErrorEvent(ValueError(f"Run failed: {event.error}"))
            if isinstance(event, QueueErrorEvent):
                err = self._base_task_pipeline._handle_error(event=event, session=DATABASE, message_id=self._message_id)
                yield {"event": "error", "message": str(err)}
                return
            if isinstance(event, GraphRunSucceededEvent):
                self._task_state.answer = str(event.outputs)
                self._save_message(session=DATABASE)
                yield {"event": "message_end", "message_id": self._message_id}

    def _save_message(self, *, session, graph_runtime_state=None):
        message = session.get(Message, self._message_id)
        message.answer = self._task_state.answer
        message.workflow_run_id = self._workflow_run_id
