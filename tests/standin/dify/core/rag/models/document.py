from typing import Any

from pydantic import BaseModel, Field


class Document(BaseModel):
    page_content: str
    vector: list[float] | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    provider: str | None = "dify"
    children: list[Any] | None = None
    attachments: list[Any] | None = None
