from typing import Any

from graphon.model_runtime.entities.model_entities import ModelType

from core.model_manager import ModelManager
from core.moderation.base import Moderation, ModerationAction, ModerationInputsResult, ModerationOutputsResult


class OpenAIModeration(Moderation):
    def _flagged(self, text: str) -> bool:
        instance = ModelManager.for_tenant(self.tenant_id).get_default_model_instance(
            self.tenant_id, ModelType.MODERATION
        )
        return instance.invoke_moderation(text=text)

    def moderation_for_inputs(self, inputs: dict[str, Any], query: str = "") -> ModerationInputsResult:
        return ModerationInputsResult(
            flagged=self._flagged(query),
            action=ModerationAction.DIRECT_OUTPUT,
            preset_response=self.config.get("inputs_config", {}).get("preset_response", ""),
            inputs=inputs,
            query=query,
        )

    def moderation_for_outputs(self, text: str) -> ModerationOutputsResult:
        return ModerationOutputsResult(
            flagged=self._flagged(text),
            action=ModerationAction.DIRECT_OUTPUT,
            preset_response=self.config.get("outputs_config", {}).get("preset_response", ""),
            text=text,
        )
