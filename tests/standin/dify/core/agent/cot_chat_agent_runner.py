from graphon.model_runtime.entities.message_entities import (
    AssistantPromptMessage,
    PromptMessage,
    SystemPromptMessage,
    UserPromptMessage,
)

from core.agent.cot_agent_runner import CotAgentRunner


class CotChatAgentRunner(CotAgentRunner):
    def _organize_prompt_messages(self) -> list[PromptMessage]:
        tools = "; ".join(f"{tool.name}({tool.parameters})" for tool in self._prompt_messages_tools)
        messages: list[PromptMessage] = [
            SystemPromptMessage(content=f"ReAct. Tools: {tools}"),
            *self.history_prompt_messages,
            UserPromptMessage(content=self._query),
        ]
        for unit in self._agent_scratchpad:
            text = f"{unit.agent_response}\nObservation: {unit.observation}"
            messages += [AssistantPromptMessage(content=text), UserPromptMessage(content="continue")]
        return messages
