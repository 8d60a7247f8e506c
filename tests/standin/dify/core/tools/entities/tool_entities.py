"""What a tool is and what it yields."""

from enum import StrEnum, auto
from typing import Any

from graphon.model_runtime.entities.common_entities import I18nObject
from pydantic import BaseModel, Field, field_validator


class ToolProviderType(StrEnum):
    PLUGIN = auto()
    BUILT_IN = "builtin"
    WORKFLOW = auto()
    API = auto()
    APP = auto()
    DATASET_RETRIEVAL = "dataset-retrieval"
    MCP = auto()


class ToolInvokeFrom(StrEnum):
    WORKFLOW = auto()
    AGENT = auto()
    PLUGIN = auto()


class CredentialType(StrEnum):
    API_KEY = "api-key"
    OAUTH2 = "oauth2"
    UNAUTHORIZED = "unauthorized"


class ToolInvokeMessage(BaseModel):
    class TextMessage(BaseModel):
        text: str

    class JsonMessage(BaseModel):
        json_object: dict[str, Any] | list[Any]
        suppress_output: bool = False

    class BlobMessage(BaseModel):
        blob: bytes

    class FileMessage(BaseModel):
        file_marker: str = "file_marker"

    class VariableMessage(BaseModel):
        variable_name: str
        variable_value: Any
        stream: bool = False

    class LogMessage(BaseModel):
        class LogStatus(StrEnum):
            START = auto()
            ERROR = auto()
            SUCCESS = auto()

        id: str
        label: str
        parent_id: str | None = None
        error: str | None = None
        status: LogStatus
        data: dict[str, Any]
        metadata: dict[str, Any] = Field(default_factory=dict)

    class RetrieverResourceMessage(BaseModel):
        retriever_resources: list[dict[str, Any]]
        context: str

    class MessageType(StrEnum):
        TEXT = auto()
        IMAGE = auto()
        LINK = auto()
        BLOB = auto()
        JSON = auto()
        IMAGE_LINK = auto()
        BINARY_LINK = auto()
        VARIABLE = auto()
        FILE = auto()
        LOG = auto()
        BLOB_CHUNK = auto()
        RETRIEVER_RESOURCES = auto()

    type: MessageType = MessageType.TEXT
    message: (
        JsonMessage
        | TextMessage
        | BlobMessage
        | LogMessage
        | VariableMessage
        | RetrieverResourceMessage
        | FileMessage
        | None
    )
    meta: dict[str, Any] | None = None


class ToolParameter(BaseModel):
    class ToolParameterType(StrEnum):
        STRING = "string"
        NUMBER = "number"
        BOOLEAN = "boolean"

    class ToolParameterForm(StrEnum):
        SCHEMA = auto()
        FORM = auto()
        LLM = auto()

    name: str
    label: I18nObject | None = None
    type: ToolParameterType = ToolParameterType.STRING
    form: ToolParameterForm = ToolParameterForm.LLM
    llm_description: str | None = None
    required: bool = False
    default: Any = None


class ToolIdentity(BaseModel):
    author: str
    name: str
    label: I18nObject
    provider: str
    icon: str | None = None


class ToolDescription(BaseModel):
    human: I18nObject
    llm: str


class ToolEntity(BaseModel):
    identity: ToolIdentity
    parameters: list[ToolParameter] = Field(default_factory=list)
    description: ToolDescription | None = None
    output_schema: dict[str, Any] | None = None
    has_runtime_parameters: bool = False

    @field_validator("parameters", mode="before")
    @classmethod
    def _none_is_empty(cls, value: Any) -> Any:
        return value or []


class ToolInvokeMeta(BaseModel):
    time_cost: float = 0.0
    error: str | None = None
    tool_config: dict[str, Any] | None = None

    @classmethod
    def empty(cls) -> "ToolInvokeMeta":
        return cls(time_cost=0.0, error=None, tool_config={})

    @classmethod
    def error_instance(cls, error: str) -> "ToolInvokeMeta":
        return cls(time_cost=0.0, error=error, tool_config={})

    def to_dict(self) -> dict[str, Any]:
        return {"time_cost": self.time_cost, "error": self.error, "tool_config": self.tool_config}
