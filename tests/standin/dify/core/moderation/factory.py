from typing import Any

from core.moderation.base import Moderation, ModerationInputsResult, ModerationOutputsResult
from core.moderation.keywords import KeywordsModeration
from core.moderation.openai_moderation import OpenAIModeration

_EXTENSIONS: dict[str, type[Moderation]] = {"keywords": KeywordsModeration, "openai_moderation": OpenAIModeration}


class ModerationFactory:
    __extension_instance: Moderation

    def __init__(self, name: str, app_id: str, tenant_id: str, config: dict[str, Any]) -> None:
        self.__extension_instance = _EXTENSIONS[name](app_id, tenant_id, config)

    def moderation_for_inputs(self, inputs: dict[str, Any], query: str = "") -> ModerationInputsResult:
        return self.__extension_instance.moderation_for_inputs(inputs, query)

    def moderation_for_outputs(self, text: str) -> ModerationOutputsResult:
        return self.__extension_instance.moderation_for_outputs(text)
