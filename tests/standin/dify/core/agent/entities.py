from enum import StrEnum
from typing import Any

from pydantic import BaseModel, Field

from core.tools.entities.tool_entities import ToolInvokeMessage, ToolProviderType


class AgentToolEntity(BaseModel):
    provider_type: ToolProviderType
    provider_id: str
    tool_name: str
    tool_parameters: dict[str, Any] = Field(default_factory=dict)


class AgentScratchpadUnit(BaseModel):
    class Action(BaseModel):
        action_name: str
        action_input: dict[str, Any] | str

    agent_response: str | None = None
    thought: str | None = None
    observation: str | None = None
    action: Action | None = None


class AgentEntity(BaseModel):
    class Strategy(StrEnum):
        CHAIN_OF_THOUGHT = "chain-of-thought"
        FUNCTION_CALLING = "function-calling"

    provider: str
    model: str
    strategy: Strategy
    tools: list[AgentToolEntity] | None = None
    max_iteration: int = 10


class AgentInvokeMessage(ToolInvokeMessage):
    pass
