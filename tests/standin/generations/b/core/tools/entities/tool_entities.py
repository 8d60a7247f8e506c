from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class ToolProviderType(StrEnum):
    BUILT_IN = "builtin"
    PLUGIN = "plugin"
    API = "api"
    WORKFLOW = "workflow"
    MCP = "mcp"


class MessageType(StrEnum):
    TEXT = "text"
    JSON = "json"


@dataclass
class TextMessage:
    text: str


@dataclass
class JsonMessage:
    json_object: dict[str, Any]


@dataclass
class ToolInvokeMessage:
    type: MessageType
    message: TextMessage | JsonMessage
    meta: dict[str, Any] | None = None


@dataclass
class ToolIdentity:
    name: str
    provider: str = "langgenius/stubtool/stubtool"
    label: str = ""
    icon: str | None = None


@dataclass
class ToolEntity:
    identity: ToolIdentity
    parameters: list[Any] = field(default_factory=list)
    description: str = ""


@dataclass
class ToolRuntime:
    tenant_id: str = "tenant-1"
    invoke_from: Any = None
    tool_invoke_from: Any = None
    credentials: dict[str, Any] = field(default_factory=lambda: {"api_key": "a-secret-of-the-tool"})
    runtime_parameters: dict[str, Any] = field(default_factory=dict)


@dataclass
class ToolInvokeMeta:
    time_cost: float = 0.0
    error: str | None = None
    tool_config: dict[str, Any] | None = None
