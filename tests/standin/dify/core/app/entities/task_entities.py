"""What the response pipeline sends to the client, and the state it keeps."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from graphon.model_runtime.entities.llm_entities import LLMResult, LLMUsage
from pydantic import BaseModel, ConfigDict, Field

from core.rag.entities import RetrievalSourceMetadata


class TaskStateMetadata(BaseModel):
    annotation_reply: Any = None
    retriever_resources: Sequence[RetrievalSourceMetadata] = Field(default_factory=list)
    usage: LLMUsage | None = None


class TaskState(BaseModel):
    metadata: TaskStateMetadata = Field(default_factory=TaskStateMetadata)


class EasyUITaskState(TaskState):
    llm_result: LLMResult


class WorkflowTaskState(TaskState):
    answer: str = ""
    first_token_time: float | None = None
    last_token_time: float | None = None
    is_streaming_response: bool = False


class StreamEvent(StrEnum):
    PING = "ping"
    ERROR = "error"
    MESSAGE = "message"
    MESSAGE_END = "message_end"
    MESSAGE_REPLACE = "message_replace"
    AGENT_THOUGHT = "agent_thought"
    AGENT_MESSAGE = "agent_message"
    WORKFLOW_STARTED = "workflow_started"
    WORKFLOW_PAUSED = "workflow_paused"
    WORKFLOW_FINISHED = "workflow_finished"
    NODE_STARTED = "node_started"
    NODE_FINISHED = "node_finished"
    NODE_RETRY = "node_retry"
    ITERATION_STARTED = "iteration_started"
    ITERATION_NEXT = "iteration_next"
    ITERATION_COMPLETED = "iteration_completed"
    LOOP_STARTED = "loop_started"
    LOOP_NEXT = "loop_next"
    LOOP_COMPLETED = "loop_completed"
    TEXT_CHUNK = "text_chunk"
    AGENT_LOG = "agent_log"


class StreamResponse(BaseModel):
    event: StreamEvent
    task_id: str


class ErrorStreamResponse(StreamResponse):
    event: StreamEvent = StreamEvent.ERROR
    err: Exception
    model_config = ConfigDict(arbitrary_types_allowed=True)


class MessageStreamResponse(StreamResponse):
    event: StreamEvent = StreamEvent.MESSAGE
    id: str
    answer: str


class MessageEndStreamResponse(StreamResponse):
    event: StreamEvent = StreamEvent.MESSAGE_END
    id: str
    metadata: Mapping[str, object] = Field(default_factory=dict)


class MessageReplaceStreamResponse(StreamResponse):
    event: StreamEvent = StreamEvent.MESSAGE_REPLACE
    answer: str
    reason: str = ""


class AgentThoughtStreamResponse(StreamResponse):
    event: StreamEvent = StreamEvent.AGENT_THOUGHT
    id: str
    position: int
    thought: str | None = None
    observation: str | None = None
    tool: str | None = None
    tool_input: str | None = None


class AgentMessageStreamResponse(StreamResponse):
    event: StreamEvent = StreamEvent.AGENT_MESSAGE
    id: str
    answer: str


class PingStreamResponse(StreamResponse):
    event: StreamEvent = StreamEvent.PING


class WorkflowStreamResponse(StreamResponse):
    """Stands for Dify's many workflow, node, iteration and loop classes: they differ in `event` and `data` only."""

    workflow_run_id: str
    data: dict[str, Any]


class AppStreamResponse(BaseModel):
    stream_response: StreamResponse


class ChatbotAppStreamResponse(AppStreamResponse):
    conversation_id: str
    message_id: str
    created_at: int


class CompletionAppStreamResponse(AppStreamResponse):
    message_id: str
    created_at: int


class WorkflowAppStreamResponse(AppStreamResponse):
    workflow_run_id: str | None = None


class AppBlockingResponse(BaseModel):
    task_id: str


class ChatbotAppBlockingResponse(AppBlockingResponse):
    class Data(BaseModel):
        id: str
        mode: str
        conversation_id: str
        message_id: str
        answer: str
        metadata: Mapping[str, object] = Field(default_factory=dict)
        created_at: int

    data: Data


class CompletionAppBlockingResponse(AppBlockingResponse):
    class Data(BaseModel):
        id: str
        mode: str
        message_id: str
        answer: str
        metadata: Mapping[str, object] = Field(default_factory=dict)
        created_at: int

    data: Data


class WorkflowAppBlockingResponse(AppBlockingResponse):
    workflow_run_id: str
    data: dict[str, Any]
