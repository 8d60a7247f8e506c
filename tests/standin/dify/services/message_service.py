from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.app.entities.app_invoke_entities import InvokeFrom
from core.llm_generator.llm_generator import LLMGenerator
from core.ops.ops_trace_manager import TraceQueueManager, TraceTask, TraceTaskName
from models.account import Account
from models.model import App, Conversation, EndUser, Message, MessageFeedback


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

    @classmethod
    def create_feedback(
        cls,
        *,
        app_model: App,
        message_id: str,
        user: Account | EndUser | None,
        rating: str | None,
        content: str | None,
        session: Session,
    ) -> MessageFeedback:
        if not user:
            raise ValueError("user cannot be None")
        message: Any = session.scalar(select(Message).where(Message.id == message_id))
        if message is None:
            raise ValueError("Message Not Exists.")
        feedback = session.scalar(select(MessageFeedback).where(MessageFeedback.message_id == message_id))
        if feedback is not None and not rating:
            session.delete(feedback)
        elif feedback is not None and rating:
            feedback.rating = rating
            feedback.content = content
        elif not rating:
            raise ValueError("rating cannot be None when feedback not exists")
        else:
            feedback = MessageFeedback(
                app_id=app_model.id,
                conversation_id=message.conversation_id,
                message_id=message.id,
                rating=rating,
                content=content,
                from_source="user" if isinstance(user, EndUser) else "admin",
                from_end_user_id=user.id if isinstance(user, EndUser) else None,
                from_account_id=user.id if isinstance(user, Account) else None,
            )
            session.add(feedback)
        session.commit()
        return feedback
