"""Tables of an application and its conversations: the columns instrumentation reads, by Dify's names."""

import json
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy import String, Text, func
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.account import Account
from models.base import Base, new_id
from models.enums import CreatorUserRole, MessageStatus

__all__ = ["Account"]


class AppMode(StrEnum):
    COMPLETION = "completion"
    WORKFLOW = "workflow"
    CHAT = "chat"
    ADVANCED_CHAT = "advanced-chat"
    AGENT_CHAT = "agent-chat"
    AGENT = "agent"
    CHANNEL = "channel"
    RAG_PIPELINE = "rag-pipeline"

    @classmethod
    def value_of(cls, value: str) -> "AppMode":
        return cls(value)


class App(Base):
    __tablename__ = "apps"
    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    tenant_id: Mapped[str] = mapped_column(String(36))
    name: Mapped[str] = mapped_column(String(255))
    description: Mapped[str] = mapped_column(Text, default="")
    mode: Mapped[str] = mapped_column(String(255))
    app_model_config_id: Mapped[str | None] = mapped_column(String(36), default=None)
    workflow_id: Mapped[str | None] = mapped_column(String(36), default=None)
    status: Mapped[str] = mapped_column(String(255), default="normal")
    enable_api: Mapped[bool] = mapped_column(default=True)
    max_active_requests: Mapped[int | None] = mapped_column(default=None)
    created_at: Mapped[datetime] = mapped_column(server_default=func.current_timestamp())

    def is_agent_with_session(self, *, session: Session) -> bool:
        if self.app_model_config_id is None:
            return False
        config = session.get(AppModelConfig, self.app_model_config_id)
        agent_mode = json.loads(config.agent_mode) if config is not None and config.agent_mode else {}
        return bool(agent_mode.get("enabled")) and self.mode == AppMode.AGENT_CHAT


class ApiToken(Base):
    __tablename__ = "api_tokens"
    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    app_id: Mapped[str] = mapped_column(String(36))
    tenant_id: Mapped[str] = mapped_column(String(36))
    type: Mapped[str] = mapped_column(String(16), default="app")
    token: Mapped[str] = mapped_column(String(255), index=True)
    last_used_at: Mapped[datetime | None] = mapped_column(default=None)


class AppModelConfig(Base):
    __tablename__ = "app_model_configs"
    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    app_id: Mapped[str] = mapped_column(String(36))
    model: Mapped[str] = mapped_column(Text)
    pre_prompt: Mapped[str | None] = mapped_column(Text, default=None)
    agent_mode: Mapped[str | None] = mapped_column(Text, default=None)
    sensitive_word_avoidance: Mapped[str | None] = mapped_column(Text, default=None)
    dataset_configs: Mapped[str | None] = mapped_column(Text, default=None)
    retriever_resource: Mapped[str | None] = mapped_column(Text, default=None)

    def to_dict(self, *, annotation_reply: Any = None) -> dict[str, Any]:
        def load(text: str | None) -> Any:
            return json.loads(text) if text else {}

        return {
            "model": load(self.model),
            "pre_prompt": self.pre_prompt or "",
            "agent_mode": load(self.agent_mode),
            "sensitive_word_avoidance": load(self.sensitive_word_avoidance),
            "dataset_configs": load(self.dataset_configs),
            "retriever_resource": load(self.retriever_resource),
            "annotation_reply": annotation_reply,
        }


class EndUser(Base):
    __tablename__ = "end_users"
    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    tenant_id: Mapped[str] = mapped_column(String(36))
    app_id: Mapped[str | None] = mapped_column(String(36), default=None)
    type: Mapped[str] = mapped_column(String(255), default="service_api")
    external_user_id: Mapped[str | None] = mapped_column(String(255), default=None)
    name: Mapped[str | None] = mapped_column(String(255), default=None)
    is_anonymous: Mapped[bool] = mapped_column(default=True)
    session_id: Mapped[str] = mapped_column(String(255))


class Conversation(Base):
    __tablename__ = "conversations"
    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    app_id: Mapped[str] = mapped_column(String(36))
    app_model_config_id: Mapped[str | None] = mapped_column(String(36), default=None)
    model_provider: Mapped[str | None] = mapped_column(String(255), default=None)
    model_id: Mapped[str | None] = mapped_column(String(255), default=None)
    override_model_configs: Mapped[str | None] = mapped_column(Text, default=None)
    mode: Mapped[str] = mapped_column(String(255))
    name: Mapped[str] = mapped_column(String(255))
    inputs: Mapped[dict[str, Any]] = mapped_column(sa.JSON)
    status: Mapped[str] = mapped_column(String(255), default="normal")
    invoke_from: Mapped[str | None] = mapped_column(String(255), default=None)
    from_source: Mapped[str] = mapped_column(String(255))
    from_end_user_id: Mapped[str | None] = mapped_column(String(36), default=None)
    from_account_id: Mapped[str | None] = mapped_column(String(36), default=None)
    created_at: Mapped[datetime] = mapped_column(server_default=func.current_timestamp())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.current_timestamp())


class Message(Base):
    __tablename__ = "messages"
    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    app_id: Mapped[str] = mapped_column(String(36))
    model_provider: Mapped[str | None] = mapped_column(String(255), default=None)
    model_id: Mapped[str | None] = mapped_column(String(255), default=None)
    override_model_configs: Mapped[str | None] = mapped_column(Text, default=None)
    conversation_id: Mapped[str] = mapped_column(String(36), sa.ForeignKey("conversations.id"), index=True)
    inputs: Mapped[dict[str, Any]] = mapped_column(sa.JSON)
    query: Mapped[str] = mapped_column(Text)
    message: Mapped[Any] = mapped_column(sa.JSON)
    message_tokens: Mapped[int] = mapped_column(default=0)
    message_unit_price: Mapped[Decimal] = mapped_column(sa.Numeric(10, 4), default=Decimal(0))
    message_price_unit: Mapped[Decimal] = mapped_column(sa.Numeric(10, 7), default=Decimal("0.001"))
    answer: Mapped[str] = mapped_column(Text, default="")
    answer_tokens: Mapped[int] = mapped_column(default=0)
    answer_unit_price: Mapped[Decimal] = mapped_column(sa.Numeric(10, 4), default=Decimal(0))
    answer_price_unit: Mapped[Decimal] = mapped_column(sa.Numeric(10, 7), default=Decimal("0.001"))
    parent_message_id: Mapped[str | None] = mapped_column(String(36), default=None)
    provider_response_latency: Mapped[float] = mapped_column(default=0.0)
    total_price: Mapped[Decimal | None] = mapped_column(sa.Numeric(10, 7), default=None)
    currency: Mapped[str] = mapped_column(String(255), default="USD")
    status: Mapped[str] = mapped_column(String(255), default=MessageStatus.NORMAL.value)
    error: Mapped[str | None] = mapped_column(Text, default=None)
    message_metadata: Mapped[str | None] = mapped_column(Text, default=None)
    invoke_from: Mapped[str | None] = mapped_column(String(255), default=None)
    from_source: Mapped[str] = mapped_column(String(255))
    from_end_user_id: Mapped[str | None] = mapped_column(String(36), default=None)
    from_account_id: Mapped[str | None] = mapped_column(String(36), default=None)
    created_at: Mapped[datetime] = mapped_column(server_default=func.current_timestamp())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.current_timestamp())
    agent_based: Mapped[bool] = mapped_column(default=False)
    workflow_run_id: Mapped[str | None] = mapped_column(String(36), default=None)
    app_mode: Mapped[str | None] = mapped_column(String(255), default=None)


class MessageFeedback(Base):
    __tablename__ = "message_feedbacks"
    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    app_id: Mapped[str] = mapped_column(String(36))
    conversation_id: Mapped[str] = mapped_column(String(36))
    message_id: Mapped[str] = mapped_column(String(36), index=True)
    rating: Mapped[str] = mapped_column(String(255))
    content: Mapped[str | None] = mapped_column(Text, default=None)
    from_source: Mapped[str] = mapped_column(String(255))
    from_end_user_id: Mapped[str | None] = mapped_column(String(36), default=None)
    from_account_id: Mapped[str | None] = mapped_column(String(36), default=None)


class MessageFile(Base):
    __tablename__ = "message_files"
    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    message_id: Mapped[str] = mapped_column(String(36), index=True)
    type: Mapped[str] = mapped_column(String(255))
    transfer_method: Mapped[str] = mapped_column(String(255), default="local_file")
    url: Mapped[str | None] = mapped_column(Text, default=None)
    belongs_to: Mapped[str | None] = mapped_column(String(255), default=None)
    upload_file_id: Mapped[str | None] = mapped_column(String(36), default=None)
    created_by_role: Mapped[str] = mapped_column(String(255), default=CreatorUserRole.END_USER.value)
    created_by: Mapped[str] = mapped_column(String(36), default="")


class MessageAgentThought(Base):
    __tablename__ = "message_agent_thoughts"
    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    message_id: Mapped[str] = mapped_column(String(36), index=True)
    position: Mapped[int] = mapped_column()
    created_by_role: Mapped[str] = mapped_column(String(255), default=CreatorUserRole.ACCOUNT.value)
    created_by: Mapped[str] = mapped_column(String(36))
    thought: Mapped[str | None] = mapped_column(Text, default=None)
    tool: Mapped[str | None] = mapped_column(Text, default=None)
    tool_labels_str: Mapped[str] = mapped_column(Text, default="{}")
    tool_meta_str: Mapped[str] = mapped_column(Text, default="{}")
    tool_input: Mapped[str | None] = mapped_column(Text, default=None)
    observation: Mapped[str | None] = mapped_column(Text, default=None)
    message: Mapped[str | None] = mapped_column(Text, default=None)
    message_token: Mapped[int | None] = mapped_column(default=None)
    message_files: Mapped[str | None] = mapped_column(Text, default=None)
    answer: Mapped[str | None] = mapped_column(Text, default=None)
    answer_token: Mapped[int | None] = mapped_column(default=None)
    tokens: Mapped[int | None] = mapped_column(default=None)
    total_price: Mapped[Decimal | None] = mapped_column(sa.Numeric(10, 7), default=None)
    currency: Mapped[str | None] = mapped_column(String(255), default="USD")
    latency: Mapped[float | None] = mapped_column(default=None)
