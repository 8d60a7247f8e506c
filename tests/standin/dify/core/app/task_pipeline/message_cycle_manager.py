"""A message's small events, and the conversation's name, which a timer thread asks a model for."""

import hashlib
from threading import Thread, Timer
from typing import Any

from flask import Flask, current_app
from sqlalchemy import select

from core.app.entities.app_invoke_entities import CompletionAppGenerateEntity
from core.app.entities.queue_entities import QueueRetrieverResourcesEvent
from core.app.entities.task_entities import (
    EasyUITaskState,
    MessageReplaceStreamResponse,
    MessageStreamResponse,
    StreamEvent,
    WorkflowTaskState,
)
from core.db.session_factory import session_factory
from core.llm_generator.llm_generator import LLMGenerator
from extensions.ext_redis import redis_client
from models.model import App, AppMode, Conversation, MessageFile


class MessageCycleManager:
    def __init__(self, *, application_generate_entity: Any, task_state: EasyUITaskState | WorkflowTaskState):
        self._application_generate_entity = application_generate_entity
        self._task_state = task_state

    def get_message_event_type(self, message_id: str) -> StreamEvent:
        with session_factory.create_session() as session:
            session.scalar(select(MessageFile).where(MessageFile.message_id == message_id))
        return StreamEvent.MESSAGE

    def generate_conversation_name(self, *, conversation_id: str, query: str) -> Thread | None:
        entity = self._application_generate_entity
        if isinstance(entity, CompletionAppGenerateEntity) or not entity.is_new_conversation:
            return None
        entity.is_new_conversation = False
        if not entity.extras.get("auto_generate_conversation_name", True):
            return None
        thread = Timer(
            1,
            self._generate_conversation_name_worker,
            kwargs={
                "flask_app": current_app._get_current_object(),  # type: ignore[attr-defined]
                "conversation_id": conversation_id,
                "query": query,
            },
        )
        thread.daemon = True
        thread.start()
        return thread

    def _generate_conversation_name_worker(self, flask_app: Flask, conversation_id: str, query: str) -> None:
        with flask_app.app_context(), session_factory.create_session() as session:
            conversation = session.scalar(select(Conversation).where(Conversation.id == conversation_id))
            if conversation is None or conversation.mode == AppMode.COMPLETION:
                return
            app_model = session.get(App, conversation.app_id)
            if app_model is None:
                return
            key = f"conv_name:{conversation_id}:{hashlib.md5(query.encode()).hexdigest()[:16]}"
            cached = redis_client.get(key)
            if cached:
                name = cached.decode()
            else:
                name = LLMGenerator.generate_conversation_name(
                    app_model.tenant_id, query, conversation_id, conversation.app_id
                )
                redis_client.setex(key, 3600, name)
            conversation.name = name
            session.commit()

    def handle_retriever_resources(self, event: QueueRetrieverResourcesEvent) -> None:
        self._task_state.metadata.retriever_resources = event.retriever_resources

    def message_to_stream_response(
        self, answer: str, message_id: str, event_type: StreamEvent | None = None
    ) -> MessageStreamResponse:
        return MessageStreamResponse(
            task_id=self._application_generate_entity.task_id,
            id=message_id,
            answer=answer,
            event=event_type or StreamEvent.MESSAGE,
        )

    def message_replace_to_stream_response(self, answer: str, reason: str = "") -> MessageReplaceStreamResponse:
        return MessageReplaceStreamResponse(
            task_id=self._application_generate_entity.task_id, answer=answer, reason=reason
        )
