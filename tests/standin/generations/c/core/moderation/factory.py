from dataclasses import dataclass, field
from typing import Any


@dataclass
class ModerationInputsResult:
    flagged: bool
    action: str = "direct_output"
    preset_response: str = "I may not answer that."
    inputs: dict[str, Any] = field(default_factory=dict)
    query: str = ""


@dataclass
class ModerationOutputsResult:
    flagged: bool
    action: str = "direct_output"
    preset_response: str = "The answer was withheld."
    text: str = ""


class ModerationFactory:
    def __init__(self, name, app_id, tenant_id, config):
        self.__extension_instance = name

    def moderation_for_inputs(self, inputs, query=""):
        return ModerationInputsResult("forbidden" in query, inputs=inputs, query=query)

    def moderation_for_outputs(self, text):
        return ModerationOutputsResult("forbidden" in text, text=text)
