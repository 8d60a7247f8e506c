"""`application_generate_entity`: what one run of an application carries from the request to the last node."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from graphon.file.models import File
from graphon.model_runtime.entities.model_entities import AIModelEntity
from pydantic import BaseModel, ConfigDict, Field

from core.app.app_config.entities import EasyUIBasedAppConfig, WorkflowUIBasedAppConfig
from core.entities.provider_configuration import ProviderModelBundle

if TYPE_CHECKING:
    from core.ops.ops_trace_manager import TraceQueueManager

DIFY_RUN_CONTEXT_KEY = "_dify"


class UserFrom(StrEnum):
    ACCOUNT = "account"
    END_USER = "end-user"


class InvokeFrom(StrEnum):
    SERVICE_API = "service-api"
    OPENAPI = "openapi"
    WEB_APP = "web-app"
    TRIGGER = "trigger"
    EXPLORE = "explore"
    DEBUGGER = "debugger"
    PUBLISHED_PIPELINE = "published"
    VALIDATION = "validation"

    def runs_as_account(self) -> bool:
        return self in {InvokeFrom.EXPLORE, InvokeFrom.DEBUGGER}


class DifyRunContext(BaseModel):
    tenant_id: str
    app_id: str
    user_id: str
    user_from: UserFrom
    invoke_from: InvokeFrom
    trace_session_id: str | None = None


def build_dify_run_context(
    *,
    tenant_id: str,
    app_id: str,
    user_id: str,
    user_from: UserFrom,
    invoke_from: InvokeFrom,
    trace_session_id: str | None = None,
    extra_context: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    context = dict(extra_context or {})
    context[DIFY_RUN_CONTEXT_KEY] = DifyRunContext(
        tenant_id=tenant_id,
        app_id=app_id,
        user_id=user_id,
        user_from=user_from,
        invoke_from=invoke_from,
        trace_session_id=trace_session_id,
    )
    return context


class ModelConfigWithCredentialsEntity(BaseModel):
    provider: str
    model: str
    model_schema: AIModelEntity
    mode: str
    provider_model_bundle: ProviderModelBundle
    credentials: dict[str, Any] = Field(default_factory=dict)
    parameters: dict[str, Any] = Field(default_factory=dict)
    stop: list[str] = Field(default_factory=list)
    model_config = ConfigDict(protected_namespaces=())


class AppGenerateEntity(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    task_id: str
    app_config: Any = None
    file_upload_config: Any = None
    inputs: Mapping[str, Any]
    files: Sequence[File]
    user_id: str
    stream: bool
    invoke_from: InvokeFrom
    call_depth: int = 0
    extras: dict[str, Any] = Field(default_factory=dict)
    trace_manager: "TraceQueueManager | None" = Field(default=None, exclude=True, repr=False)


class EasyUIBasedAppGenerateEntity(AppGenerateEntity):
    app_config: EasyUIBasedAppConfig = None  # type: ignore[assignment]
    model_conf: ModelConfigWithCredentialsEntity
    query: str = ""
    model_config = ConfigDict(protected_namespaces=())


class ConversationAppGenerateEntity(AppGenerateEntity):
    conversation_id: str | None = None
    is_new_conversation: bool = False
    parent_message_id: str | None = None


class ChatAppGenerateEntity(ConversationAppGenerateEntity, EasyUIBasedAppGenerateEntity):
    pass


class CompletionAppGenerateEntity(EasyUIBasedAppGenerateEntity):
    pass


class AgentChatAppGenerateEntity(ConversationAppGenerateEntity, EasyUIBasedAppGenerateEntity):
    pass


class AgentAppGenerateEntity(ChatAppGenerateEntity):
    agent_id: str
    agent_config_snapshot_id: str
    agent_config_version_kind: str = "snapshot"


class AdvancedChatAppGenerateEntity(ConversationAppGenerateEntity):
    app_config: WorkflowUIBasedAppConfig = None  # type: ignore[assignment]
    workflow_run_id: str | None = None
    query: str
    single_iteration_run: Any = None
    single_loop_run: Any = None


class WorkflowAppGenerateEntity(AppGenerateEntity):
    app_config: WorkflowUIBasedAppConfig = None  # type: ignore[assignment]
    workflow_execution_id: str
    single_iteration_run: Any = None
    single_loop_run: Any = None


class RagPipelineGenerateEntity(WorkflowAppGenerateEntity):
    pipeline_config: WorkflowUIBasedAppConfig
    datasource_type: str
    datasource_info: Mapping[str, Any]
    dataset_id: str
    batch: str
    document_id: str | None = None
    original_document_id: str | None = None
    start_node_id: str | None = None


def rebuild_entities() -> None:
    """Resolves the reference to `TraceQueueManager`, which imports this module."""
    from core.ops.ops_trace_manager import TraceQueueManager

    for entity in (
        AppGenerateEntity,
        EasyUIBasedAppGenerateEntity,
        ConversationAppGenerateEntity,
        ChatAppGenerateEntity,
        CompletionAppGenerateEntity,
        AgentChatAppGenerateEntity,
        AdvancedChatAppGenerateEntity,
        WorkflowAppGenerateEntity,
        AgentAppGenerateEntity,
        RagPipelineGenerateEntity,
    ):
        entity.model_rebuild(_types_namespace={"TraceQueueManager": TraceQueueManager})
