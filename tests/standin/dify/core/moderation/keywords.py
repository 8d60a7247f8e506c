from typing import Any

from core.moderation.base import Moderation, ModerationAction, ModerationInputsResult, ModerationOutputsResult


class KeywordsModeration(Moderation):
    def _flagged(self, text: str) -> bool:
        words = [word for word in str(self.config.get("keywords", "")).split("\n") if word]
        return any(word.lower() in text.lower() for word in words)

    def moderation_for_inputs(self, inputs: dict[str, Any], query: str = "") -> ModerationInputsResult:
        preset = self.config.get("inputs_config", {})
        flagged = bool(preset.get("enabled")) and self._flagged(" ".join([*map(str, inputs.values()), query]))
        return ModerationInputsResult(
            flagged=flagged,
            action=ModerationAction.DIRECT_OUTPUT,
            preset_response=preset.get("preset_response", ""),
            inputs=inputs,
            query=query,
        )

    def moderation_for_outputs(self, text: str) -> ModerationOutputsResult:
        preset = self.config.get("outputs_config", {})
        return ModerationOutputsResult(
            flagged=bool(preset.get("enabled")) and self._flagged(text),
            action=ModerationAction.DIRECT_OUTPUT,
            preset_response=preset.get("preset_response", ""),
            text=text,
        )
