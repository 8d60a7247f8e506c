from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.app.entities.app_invoke_entities import InvokeFrom
from core.llm_generator.llm_generator import LLMGenerator
from core.ops.ops_trace_manager import TraceQueueManager, TraceTask, TraceTaskName
from models.account import Account
from models.model import App, Conversation, EndUser, Message


class MessageService:
    @classmethod
    def get_suggested_questions_after_answer(
        cls,
        app_model: App,
        user: Account | EndUser | None,
        message_id: str,
        invoke_from: InvokeFrom,
        *,
        session: Session,
    ) -> Sequence[str]:
        message: Any = session.scalar(select(Message).where(Message.id == message_id))
        if message is None:
            raise ValueError("Message Not Exists.")
        session.get(Conversation, message.conversation_id)
        questions = LLMGenerator.generate_suggested_questions_after_answer(
            tenant_id=app_model.tenant_id, histories=f"Human: {message.query}\nAssistant: {message.answer}"
        )
        TraceQueueManager(app_id=app_model.id).add_trace_task(
            TraceTask(TraceTaskName.SUGGESTED_QUESTION_TRACE, message_id=message_id, suggested_question=list(questions))
        )
        return questions
