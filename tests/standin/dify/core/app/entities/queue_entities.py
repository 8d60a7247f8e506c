"""Events from the producer thread to the response pipeline."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum, auto
from typing import Any

from graphon.entities.pause_reason import PauseReason
from graphon.entities.workflow_start_reason import WorkflowStartReason
from graphon.enums import NodeType, WorkflowNodeExecutionMetadataKey
from graphon.model_runtime.entities.llm_entities import LLMResult, LLMResultChunk
from pydantic import BaseModel, ConfigDict, Field

from core.rag.entities import RetrievalSourceMetadata


class QueueEvent(StrEnum):
    LLM_CHUNK = "llm_chunk"
    TEXT_CHUNK = "text_chunk"
    AGENT_MESSAGE = "agent_message"
    MESSAGE_REPLACE = "message_replace"
    MESSAGE_END = "message_end"
    ADVANCED_CHAT_MESSAGE_END = "advanced_chat_message_end"
    WORKFLOW_STARTED = "workflow_started"
    WORKFLOW_SUCCEEDED = "workflow_succeeded"
    WORKFLOW_FAILED = "workflow_failed"
    WORKFLOW_PARTIAL_SUCCEEDED = "workflow_partial_succeeded"
    ITERATION_START = "iteration_start"
    ITERATION_NEXT = "iteration_next"
    ITERATION_COMPLETED = "iteration_completed"
    LOOP_START = "loop_start"
    LOOP_NEXT = "loop_next"
    LOOP_COMPLETED = "loop_completed"
    NODE_STARTED = "node_started"
    NODE_SUCCEEDED = "node_succeeded"
    NODE_FAILED = "node_failed"
    NODE_EXCEPTION = "node_exception"
    RETRIEVER_RESOURCES = "retriever_resources"
    AGENT_THOUGHT = "agent_thought"
    AGENT_LOG = "agent_log"
    ERROR = "error"
    PING = "ping"
    STOP = "stop"
    RETRY = "retry"
    PAUSE = "pause"


class AppQueueEvent(BaseModel):
    event: QueueEvent
    model_config = ConfigDict(arbitrary_types_allowed=True)


class QueueLLMChunkEvent(AppQueueEvent):
    event: QueueEvent = QueueEvent.LLM_CHUNK
    chunk: LLMResultChunk


class QueueTextChunkEvent(AppQueueEvent):
    event: QueueEvent = QueueEvent.TEXT_CHUNK
    text: str
    from_variable_selector: list[str] | None = None
    in_iteration_id: str | None = None
    in_loop_id: str | None = None


class QueueAgentMessageEvent(AppQueueEvent):
    event: QueueEvent = QueueEvent.AGENT_MESSAGE
    chunk: LLMResultChunk


class QueueMessageReplaceEvent(AppQueueEvent):
    event: QueueEvent = QueueEvent.MESSAGE_REPLACE
    text: str
    reason: str


class QueueRetrieverResourcesEvent(AppQueueEvent):
    event: QueueEvent = QueueEvent.RETRIEVER_RESOURCES
    retriever_resources: Sequence[RetrievalSourceMetadata]
    in_iteration_id: str | None = None
    in_loop_id: str | None = None


class QueueMessageEndEvent(AppQueueEvent):
    event: QueueEvent = QueueEvent.MESSAGE_END
    llm_result: LLMResult | None = None


class QueueAdvancedChatMessageEndEvent(AppQueueEvent):
    event: QueueEvent = QueueEvent.ADVANCED_CHAT_MESSAGE_END


class QueueWorkflowStartedEvent(AppQueueEvent):
    event: QueueEvent = QueueEvent.WORKFLOW_STARTED
    reason: WorkflowStartReason = WorkflowStartReason.INITIAL


class QueueWorkflowSucceededEvent(AppQueueEvent):
    event: QueueEvent = QueueEvent.WORKFLOW_SUCCEEDED
    outputs: Mapping[str, object] = Field(default_factory=dict)


class QueueWorkflowFailedEvent(AppQueueEvent):
    event: QueueEvent = QueueEvent.WORKFLOW_FAILED
    error: str
    exceptions_count: int


class QueueWorkflowPartialSuccessEvent(AppQueueEvent):
    event: QueueEvent = QueueEvent.WORKFLOW_PARTIAL_SUCCEEDED
    exceptions_count: int
    outputs: Mapping[str, object] = Field(default_factory=dict)


class QueueWorkflowPausedEvent(AppQueueEvent):
    event: QueueEvent = QueueEvent.PAUSE
    reasons: Sequence[PauseReason] = Field(default_factory=list)
    outputs: Mapping[str, object] = Field(default_factory=dict)
    paused_nodes: Sequence[str] = Field(default_factory=list)


class QueueNodeStartedEvent(AppQueueEvent):
    event: QueueEvent = QueueEvent.NODE_STARTED
    node_execution_id: str
    node_id: str
    node_title: str
    node_type: NodeType
    node_run_index: int = 1
    in_iteration_id: str | None = None
    in_loop_id: str | None = None
    start_at: datetime
    provider_type: str = ""
    provider_id: str = ""


class _QueueNodeResultEvent(AppQueueEvent):
    node_execution_id: str
    node_id: str
    node_type: NodeType
    in_iteration_id: str | None = None
    in_loop_id: str | None = None
    start_at: datetime
    finished_at: datetime | None = None
    inputs: Mapping[str, object] = Field(default_factory=dict)
    process_data: Mapping[str, object] = Field(default_factory=dict)
    outputs: Mapping[str, object] = Field(default_factory=dict)
    execution_metadata: Mapping[WorkflowNodeExecutionMetadataKey, Any] | None = None
    error: str | None = None


class QueueNodeSucceededEvent(_QueueNodeResultEvent):
    event: QueueEvent = QueueEvent.NODE_SUCCEEDED


class QueueNodeFailedEvent(_QueueNodeResultEvent):
    event: QueueEvent = QueueEvent.NODE_FAILED


class QueueNodeExceptionEvent(_QueueNodeResultEvent):
    event: QueueEvent = QueueEvent.NODE_EXCEPTION


class QueueNodeRetryEvent(QueueNodeStartedEvent):
    event: QueueEvent = QueueEvent.RETRY
    inputs: Mapping[str, object] = Field(default_factory=dict)
    process_data: Mapping[str, object] = Field(default_factory=dict)
    outputs: Mapping[str, object] = Field(default_factory=dict)
    execution_metadata: Mapping[WorkflowNodeExecutionMetadataKey, Any] | None = None
    error: str
    retry_index: int


class _QueueContainerEvent(AppQueueEvent):
    node_execution_id: str
    node_id: str
    node_type: NodeType
    node_title: str
    node_run_index: int = 0
    start_at: datetime | None = None
    index: int | None = None
    inputs: Mapping[str, object] = Field(default_factory=dict)
    outputs: Mapping[str, object] = Field(default_factory=dict)
    metadata: Mapping[str, object] = Field(default_factory=dict)
    steps: int = 0
    error: str | None = None


class QueueIterationStartEvent(_QueueContainerEvent):
    event: QueueEvent = QueueEvent.ITERATION_START


class QueueIterationNextEvent(_QueueContainerEvent):
    event: QueueEvent = QueueEvent.ITERATION_NEXT


class QueueIterationCompletedEvent(_QueueContainerEvent):
    event: QueueEvent = QueueEvent.ITERATION_COMPLETED


class QueueLoopStartEvent(_QueueContainerEvent):
    event: QueueEvent = QueueEvent.LOOP_START


class QueueLoopNextEvent(_QueueContainerEvent):
    event: QueueEvent = QueueEvent.LOOP_NEXT


class QueueLoopCompletedEvent(_QueueContainerEvent):
    event: QueueEvent = QueueEvent.LOOP_COMPLETED


class QueueAgentLogEvent(AppQueueEvent):
    event: QueueEvent = QueueEvent.AGENT_LOG
    id: str
    label: str
    node_execution_id: str
    parent_id: str | None = None
    error: str | None = None
    status: str
    data: Mapping[str, Any]
    metadata: Mapping[str, object] = Field(default_factory=dict)
    node_id: str


class QueueAgentThoughtEvent(AppQueueEvent):
    event: QueueEvent = QueueEvent.AGENT_THOUGHT
    agent_thought_id: str


class QueueErrorEvent(AppQueueEvent):
    event: QueueEvent = QueueEvent.ERROR
    error: Any = None


class QueuePingEvent(AppQueueEvent):
    event: QueueEvent = QueueEvent.PING


class QueueStopEvent(AppQueueEvent):
    class StopBy(StrEnum):
        USER_MANUAL = auto()
        ANNOTATION_REPLY = auto()
        OUTPUT_MODERATION = auto()
        INPUT_MODERATION = auto()

    event: QueueEvent = QueueEvent.STOP
    stopped_by: StopBy
    reason: str | None = None

    def get_stop_reason(self) -> str:
        return self.reason or f"Stopped by {self.stopped_by}."


class QueueMessage(BaseModel):
    task_id: str
    app_mode: str
    event: AppQueueEvent


class MessageQueueMessage(QueueMessage):
    message_id: str
    conversation_id: str


class WorkflowQueueMessage(QueueMessage):
    pass
