"""Generators of applications with messages: conversation and message rows, and the topic of a worker's events."""

from collections.abc import Callable, Generator, Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.app.apps.base_app_generator import BaseAppGenerator
from core.app.apps.base_app_queue_manager import AppQueueManager
from core.app.apps.streaming_utils import stream_topic_events
from core.app.entities.app_invoke_entities import (
    AdvancedChatAppGenerateEntity,
    AgentChatAppGenerateEntity,
    ChatAppGenerateEntity,
    CompletionAppGenerateEntity,
    ConversationAppGenerateEntity,
    InvokeFrom,
)
from core.app.task_pipeline.easy_ui_based_generate_task_pipeline import EasyUIBasedGenerateTaskPipeline
from extensions.ext_database import db
from extensions.ext_redis import get_pubsub_broadcast_channel
from libs.datetime_utils import naive_utc_now
from models.account import Account
from models.enums import ConversationFromSource, CreatorUserRole
from models.model import App, AppMode, AppModelConfig, Conversation, EndUser, Message, MessageFile


class MessageBasedAppGenerator(BaseAppGenerator):
    def _handle_response(
        self,
        application_generate_entity: ChatAppGenerateEntity | CompletionAppGenerateEntity | AgentChatAppGenerateEntity,
        queue_manager: AppQueueManager,
        conversation: Conversation,
        message: Message,
        user: Account | EndUser,
        stream: bool = False,
    ) -> Any:
        pipeline = EasyUIBasedGenerateTaskPipeline(
            application_generate_entity=application_generate_entity,
            queue_manager=queue_manager,
            conversation=conversation,
            message=message,
            stream=stream,
        )
        return pipeline.process()

    def _get_app_model_config(
        self, app_model: App, conversation: Conversation | None = None, *, session: Session
    ) -> AppModelConfig:
        config_id = conversation.app_model_config_id if conversation else app_model.app_model_config_id
        config = session.get(AppModelConfig, config_id) if config_id else None
        if config is None:
            raise ValueError("app model config is broken")
        return config

    def _init_generate_records(
        self,
        application_generate_entity: ChatAppGenerateEntity
        | CompletionAppGenerateEntity
        | AgentChatAppGenerateEntity
        | AdvancedChatAppGenerateEntity,
        conversation: Conversation | None = None,
        *,
        session: Session,
    ) -> tuple[Conversation, Message]:
        entity = application_generate_entity
        app_config: Any = entity.app_config
        by_api = entity.invoke_from in {InvokeFrom.WEB_APP, InvokeFrom.SERVICE_API}
        origin = {
            "invoke_from": entity.invoke_from.value,
            "from_source": (ConversationFromSource.API if by_api else ConversationFromSource.CONSOLE).value,
            "from_end_user_id": entity.user_id if by_api else None,
            "from_account_id": None if by_api else entity.user_id,
        }
        model_conf = getattr(entity, "model_conf", None)
        model = {
            "model_provider": model_conf.provider if model_conf else None,
            "model_id": model_conf.model if model_conf else None,
        }
        query = entity.query or "New conversation"
        created = conversation is None
        if conversation is None:
            conversation = Conversation(
                app_id=app_config.app_id,
                app_model_config_id=getattr(app_config, "app_model_config_id", None),
                mode=app_config.app_mode.value,
                name=(query[:20] + "…") if len(query) > 20 else query,
                inputs=dict(entity.inputs),
                **model,
                **origin,
            )
            session.add(conversation)
            session.flush()
            session.refresh(conversation)
        else:
            conversation.updated_at = naive_utc_now()
        message = Message(
            app_id=app_config.app_id,
            conversation_id=conversation.id,
            inputs=dict(entity.inputs),
            query=entity.query,
            message="",
            parent_message_id=getattr(entity, "parent_message_id", None),
            app_mode=app_config.app_mode.value,
            agent_based=isinstance(entity, AgentChatAppGenerateEntity),
            **model,
            **origin,
        )
        session.add(message)
        session.flush()
        session.refresh(message)
        creator = message.from_account_id or message.from_end_user_id or ""
        role = CreatorUserRole.ACCOUNT if message.from_account_id else CreatorUserRole.END_USER
        session.add_all(
            MessageFile(
                message_id=message.id,
                type=file.type.value,
                transfer_method=file.transfer_method.value,
                belongs_to="user",
                url=file.remote_url,
                upload_file_id=file.reference,
                created_by_role=role.value,
                created_by=creator,
            )
            for file in entity.files
        )
        session.commit()
        if isinstance(entity, ConversationAppGenerateEntity):
            entity.conversation_id = conversation.id
            entity.is_new_conversation = created
        return conversation, message

    def _get_conversation(self, conversation_id: str) -> Conversation:
        with Session(db.engine, expire_on_commit=False) as session:
            conversation = session.scalar(select(Conversation).where(Conversation.id == conversation_id))
        if conversation is None:
            raise ValueError("Conversation not exists")
        return conversation

    def _get_message(self, message_id: str) -> Message:
        with Session(db.engine, expire_on_commit=False) as session:
            message = session.scalar(select(Message).where(Message.id == message_id))
        if message is None:
            raise ValueError("Message not exists")
        return message

    @staticmethod
    def _make_channel_key(app_mode: AppMode, workflow_run_id: str) -> str:
        return f"channel:{app_mode}:{workflow_run_id}"

    @classmethod
    def get_response_topic(cls, app_mode: AppMode, workflow_run_id: str) -> Any:
        return get_pubsub_broadcast_channel().topic(cls._make_channel_key(app_mode, workflow_run_id))

    @classmethod
    def retrieve_events(
        cls,
        app_mode: AppMode,
        workflow_run_id: str,
        idle_timeout: float = 300,
        on_subscribe: Callable[[], None] | None = None,
    ) -> Generator[Mapping[str, Any] | str, None, None]:
        return stream_topic_events(
            topic=cls.get_response_topic(app_mode, workflow_run_id),
            idle_timeout=idle_timeout,
            on_subscribe=on_subscribe,
        )
