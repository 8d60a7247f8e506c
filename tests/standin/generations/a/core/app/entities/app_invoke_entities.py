from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class InvokeFrom(StrEnum):
    SERVICE_API = "service-api"
    WEB_APP = "web-app"
    EXPLORE = "explore"
    DEBUGGER = "debugger"


@dataclass
class AppConfig:
    tenant_id: str
    app_id: str
    app_mode: str
    workflow_id: str = ""
    sensitive_word_avoidance: Any = None
    agent: Any = None


@dataclass
class ModelConfigWithCredentialsEntity:
    provider: str
    model: str
    parameters: dict[str, Any] = field(default_factory=dict)
    credentials: dict[str, Any] = field(default_factory=dict)
    stop: list[str] = field(default_factory=list)
    mode: str = "chat"


@dataclass
class AppGenerateEntity:
    task_id: str
    app_config: AppConfig
    inputs: Mapping[str, Any]
    user_id: str
    stream: bool
    invoke_from: InvokeFrom
    files: list[Any] = field(default_factory=list)
    call_depth: int = 0
    extras: dict[str, Any] = field(default_factory=dict)
    trace_manager: Any = None
    query: str = ""
    conversation_id: str | None = None
    model_conf: ModelConfigWithCredentialsEntity | None = None


class ChatAppGenerateEntity(AppGenerateEntity):
    pass


class CompletionAppGenerateEntity(AppGenerateEntity):
    pass


class AgentChatAppGenerateEntity(AppGenerateEntity):
    pass


@dataclass
class AdvancedChatAppGenerateEntity(AppGenerateEntity):
    workflow_run_id: str | None = None


@dataclass
class WorkflowAppGenerateEntity(AppGenerateEntity):
    workflow_execution_id: str = ""
