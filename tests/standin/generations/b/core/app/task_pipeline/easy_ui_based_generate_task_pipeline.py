from types import SimpleNamespace

from core.app.entities.queue_entities import QueueErrorEvent, QueueLLMChunkEvent, QueueMessageEndEvent
from core.app.task_pipeline.based_generate_task_pipeline import BasedGenerateTaskPipeline
from models.model import DATABASE, Message


class EasyUIBasedGenerateTaskPipeline(BasedGenerateTaskPipeline):
    def __init__(self, application_generate_entity, queue_manager, conversation, message, stream):
        super().__init__(application_generate_entity, queue_manager, stream)
        self._model_config = application_generate_entity.model_conf
        self._conversation_id = conversation.id
        self._conversation_mode = conversation.mode
        self._message_id = message.id
        self._task_state = SimpleNamespace(llm_result=None, metadata={})

    def process(self):
        if self.stream:
            return self._events()
        for _ in self._events():
            pass
        answer = self._task_state.llm_result.message.content
        return {"event": "message", "message_id": self._message_id, "answer": answer}

    def _events(self):
        for event in self.queue_manager.listen():
            if isinstance(event, QueueErrorEvent):
                err = self.handle_error(event=event, session=DATABASE, message_id=self._message_id)
                if not self.stream:
                    raise err
                yield {"event": "error", "message": str(err)}
                return
            if isinstance(event, QueueLLMChunkEvent):
                yield {"event": "message", "answer": event.chunk.delta.message.content}
            elif isinstance(event, QueueMessageEndEvent):
                self._task_state.llm_result = event.llm_result
                self._save_message(session=DATABASE, trace_manager=None)
                yield {"event": "message_end", "message_id": self._message_id}

    def _save_message(self, *, session, trace_manager=None):
        result = self._task_state.llm_result
        message = session.get(Message, self._message_id)
        message.answer = result.message.content
        message.message_tokens = result.usage.prompt_tokens
        message.answer_tokens = result.usage.completion_tokens
        message.total_price = result.usage.total_price
        message.provider_response_latency = 0.01
