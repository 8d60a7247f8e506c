"""What a client and a server of the Model Context Protocol say to each other, as far as a tool call needs it."""

from typing import Any, Literal

from pydantic import BaseModel, RootModel

LATEST_PROTOCOL_VERSION = "2025-06-18"


class InitializeRequestParams(BaseModel):
    protocolVersion: str
    capabilities: dict[str, Any]
    clientInfo: dict[str, str]


class InitializeRequest(BaseModel):
    method: Literal["initialize"] = "initialize"
    params: InitializeRequestParams


class CallToolRequestParams(BaseModel):
    name: str
    arguments: dict[str, Any] | None = None


class CallToolRequest(BaseModel):
    method: Literal["tools/call"] = "tools/call"
    params: CallToolRequestParams


class ClientRequest(RootModel[InitializeRequest | CallToolRequest]):
    pass


class InitializeResult(BaseModel):
    protocolVersion: str


class TextContent(BaseModel):
    type: Literal["text"] = "text"
    text: str


class CallToolResult(BaseModel):
    content: list[TextContent]
    isError: bool = False
