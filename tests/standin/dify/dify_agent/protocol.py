"""What crosses the wire to the agent backend: one request, and the events of its run."""

from typing import Any, Literal

from pydantic import BaseModel, Field


class CreateRunRequest(BaseModel):
    composition: dict[str, Any] = Field(default_factory=dict)
    idempotency_key: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class CreateRunResponse(BaseModel):
    run_id: str
    status: str = "running"


class AgentRunUsage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    prompt_price: str = "0"
    completion_price: str = "0"
    total_price: str = "0"
    currency: str = "USD"


class RunSucceededEventData(BaseModel):
    output: Any = None
    usage: AgentRunUsage | None = None


class RunFailedEventData(BaseModel):
    error: str
    reason: str | None = None


class RunCancelledEventData(BaseModel):
    reason: str | None = None
    message: str | None = None


class BaseRunEvent(BaseModel):
    id: str | None = None
    run_id: str


class RunStartedEvent(BaseRunEvent):
    type: Literal["run_started"] = "run_started"


class PydanticAIStreamRunEvent(BaseRunEvent):
    type: Literal["pydantic_ai_event"] = "pydantic_ai_event"
    data: dict[str, Any] = Field(default_factory=dict)
    agent_message_delta: str | None = None


class RunSucceededEvent(BaseRunEvent):
    type: Literal["run_succeeded"] = "run_succeeded"
    data: RunSucceededEventData


class RunFailedEvent(BaseRunEvent):
    type: Literal["run_failed"] = "run_failed"
    data: RunFailedEventData


class RunCancelledEvent(BaseRunEvent):
    type: Literal["run_cancelled"] = "run_cancelled"
    data: RunCancelledEventData = Field(default_factory=RunCancelledEventData)


RunEvent = RunStartedEvent | PydanticAIStreamRunEvent | RunSucceededEvent | RunFailedEvent | RunCancelledEvent
EVENTS: dict[str, type[BaseRunEvent]] = {
    "run_started": RunStartedEvent,
    "pydantic_ai_event": PydanticAIStreamRunEvent,
    "run_succeeded": RunSucceededEvent,
    "run_failed": RunFailedEvent,
    "run_cancelled": RunCancelledEvent,
}
