from typing import Any

from pydantic import BaseModel, Field

from core.app.entities.app_invoke_entities import InvokeFrom
from core.tools.entities.tool_entities import CredentialType, ToolInvokeFrom


class ToolRuntime(BaseModel):
    tenant_id: str
    user_id: str | None = None
    tool_id: str | None = None
    invoke_from: InvokeFrom | None = None
    tool_invoke_from: ToolInvokeFrom | None = None
    credentials: dict[str, Any] = Field(default_factory=dict)
    credential_type: CredentialType = CredentialType.API_KEY
    runtime_parameters: dict[str, Any] = Field(default_factory=dict)
