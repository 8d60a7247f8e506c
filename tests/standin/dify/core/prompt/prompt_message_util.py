from collections.abc import Sequence
from typing import Any

from graphon.model_runtime.entities.message_entities import PromptMessage


class PromptMessageUtil:
    @staticmethod
    def prompt_messages_to_prompt_for_saving(model_mode: str, prompt_messages: Sequence[PromptMessage]) -> Any:
        return [
            {"role": message.role.value, "text": message.get_text_content(), "files": []} for message in prompt_messages
        ]
