from core.agent.base_agent_runner import BaseAgentRunner
from core.app.entities.queue_entities import QueueMessageEndEvent
from core.model_runtime.entities.llm_entities import AssistantPromptMessage, LLMResult, PromptMessage
from core.tools.tool_engine import ToolEngine


class CotAgentRunner(BaseAgentRunner):
    def run(self, message, query, inputs):
        for step in range(3):
            thought = self.create_agent_thought(message.id, "", "", "", [])
            prompt = [PromptMessage("user", query)]
            if step:
                prompt.append(PromptMessage("tool", "sunny"))
            text, usage, calls = "", None, []
            for chunk in self.model_instance.invoke_llm(
                prompt_messages=prompt, model_parameters={}, tools=["weather"], stop=[], stream=True, user=self.user_id
            ):
                text += chunk.delta.message.content
                usage = chunk.delta.usage or usage
                calls += chunk.delta.message.tool_calls
                yield chunk
            self.save_agent_thought(thought, ";".join(calls), "", text, None, None, text, [], usage)
            if not calls:
                break
            for name in calls:
                observation, _, meta = ToolEngine.agent_invoke(
                    tool=self._tool(name),
                    tool_parameters={"city": "Berlin"},
                    user_id=self.user_id,
                    tenant_id=self.tenant_id,
                    message=message,
                    invoke_from=self.application_generate_entity.invoke_from,
                    agent_tool_callback=self.agent_callback,
                )
                self.save_agent_thought(thought, name, "", "", {name: observation}, {name: meta}, "", [])
        result = LLMResult("stub-chat", [], AssistantPromptMessage(content=text), usage)
        self.queue_manager.publish(QueueMessageEndEvent(result))
