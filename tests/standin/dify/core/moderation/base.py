"""Input and output moderation: results, actions, and the exception which answers instead of the model."""

from abc import ABC, abstractmethod
from enum import StrEnum, auto
from typing import Any

from pydantic import BaseModel, Field


class ModerationAction(StrEnum):
    DIRECT_OUTPUT = auto()
    OVERRIDDEN = auto()


class ModerationInputsResult(BaseModel):
    flagged: bool = False
    action: ModerationAction
    preset_response: str = ""
    inputs: dict[str, Any] = Field(default_factory=dict)
    query: str = ""


class ModerationOutputsResult(BaseModel):
    flagged: bool = False
    action: ModerationAction
    preset_response: str = ""
    text: str = ""


class Moderation(ABC):
    def __init__(self, app_id: str, tenant_id: str, config: dict[str, Any] | None = None) -> None:
        self.app_id = app_id
        self.tenant_id = tenant_id
        self.config = config or {}

    @abstractmethod
    def moderation_for_inputs(self, inputs: dict[str, Any], query: str = "") -> ModerationInputsResult:
        raise NotImplementedError

    @abstractmethod
    def moderation_for_outputs(self, text: str) -> ModerationOutputsResult:
        raise NotImplementedError


class ModerationError(Exception):
    pass
