"""Agent by function calling: model, thought, tools, again, until the model calls no tool."""

import json
from collections.abc import Generator
from typing import Any

from graphon.model_runtime.entities.llm_entities import LLMResult, LLMResultChunk, LLMResultChunkDelta, LLMUsage
from graphon.model_runtime.entities.message_entities import (
    AssistantPromptMessage,
    PromptMessage,
    SystemPromptMessage,
    ToolPromptMessage,
    UserPromptMessage,
)
from sqlalchemy.orm import Session

from core.agent.base_agent_runner import BaseAgentRunner, add_usage
from core.app.apps.base_app_queue_manager import PublishFrom
from core.app.entities.queue_entities import QueueAgentThoughtEvent, QueueMessageEndEvent
from core.tools.entities.tool_entities import ToolInvokeMeta
from core.tools.tool_engine import ToolEngine
from models.model import Message


class FunctionCallAgentRunner(BaseAgentRunner):
    def run(
        self, session: Session, message: Message, query: str, **kwargs: Any
    ) -> Generator[LLMResultChunk, None, None]:
        self.query = query
        entity = self.application_generate_entity
        agent = self.app_config.agent
        assert agent is not None
        tool_instances, prompt_tools = self._init_prompt_tools()
        total: LLMUsage | None = None
        final_answer = ""
        prompt_messages: list[PromptMessage] = []
        last_step = min(agent.max_iteration, 99) + 1
        for step in range(1, last_step + 1):
            if step == last_step:
                prompt_tools = []
            thought_id = self.create_agent_thought(
                message_id=message.id, message="", tool_name="", tool_input="", messages_ids=[]
            )
            prompt_messages = self._organize_prompt_messages()
            self.recalc_llm_max_tokens(self.model_config, prompt_messages)
            session.commit()
            session.close()
            chunks = self.model_instance.invoke_llm(
                prompt_messages=prompt_messages,
                model_parameters=entity.model_conf.parameters,
                tools=prompt_tools,
                stop=entity.model_conf.stop,
                stream=self.stream_tool_call,
                callbacks=[],
                request_metadata={"app_id": self.app_config.app_id},
            )
            calls: list[AssistantPromptMessage.ToolCall] = []
            response = ""
            usage: LLMUsage | None = None
            if isinstance(chunks, Generator):
                first = True
                for chunk in chunks:
                    if first:
                        self._publish_thought(thought_id)
                        first = False
                    calls.extend(chunk.delta.message.tool_calls)
                    response += chunk.delta.message.get_text_content()
                    usage = chunk.delta.usage or usage
                    yield chunk
            else:
                calls = list(chunks.message.tool_calls)
                response = chunks.message.get_text_content()
                usage = chunks.usage
                self._publish_thought(thought_id)
                yield LLMResultChunk(
                    model=self.model_instance.model_name,
                    prompt_messages=chunks.prompt_messages,
                    delta=LLMResultChunkDelta(index=0, message=chunks.message, usage=chunks.usage),
                )
            total = add_usage(total, usage)
            arguments = {call.function.name: json.loads(call.function.arguments or "{}") for call in calls}
            self._current_thoughts.append(AssistantPromptMessage(content=response, tool_calls=calls))
            self.save_agent_thought(
                agent_thought_id=thought_id,
                tool_name=";".join(arguments),
                tool_input=json.dumps(arguments) if arguments else "",
                thought=response,
                tool_invoke_meta=None,
                observation=None,
                answer=response,
                messages_ids=[],
                llm_usage=usage,
            )
            self._publish_thought(thought_id)
            final_answer += response + "\n"
            if not calls:
                break
            observations: dict[str, str] = {}
            metas: dict[str, Any] = {}
            for call in calls:
                name = call.function.name
                tool = tool_instances.get(name)
                if tool is None:
                    observations[name] = f"there is not a tool named {name}"
                    metas[name] = ToolInvokeMeta.error_instance(observations[name]).to_dict()
                else:
                    text, _, meta = ToolEngine.agent_invoke(
                        session=session,
                        tool=tool,
                        tool_parameters=arguments[name],
                        user_id=self.user_id,
                        tenant_id=self.tenant_id,
                        message=self.message,
                        invoke_from=entity.invoke_from,
                        agent_tool_callback=self.agent_callback,
                        trace_manager=entity.trace_manager,
                        app_id=entity.app_config.app_id,
                        message_id=self.message.id,
                        conversation_id=self.conversation.id,
                    )
                    session.commit()
                    session.close()
                    observations[name], metas[name] = text, meta.to_dict()
                self._current_thoughts.append(
                    ToolPromptMessage(content=observations[name], tool_call_id=call.id, name=name)
                )
            self.save_agent_thought(
                agent_thought_id=thought_id,
                tool_name="",
                tool_input="",
                thought="",
                tool_invoke_meta=metas,
                observation=observations,
                answer="",
                messages_ids=[],
            )
            self._publish_thought(thought_id)
        result = LLMResult(
            model=self.model_instance.model_name,
            prompt_messages=prompt_messages,
            message=AssistantPromptMessage(content=final_answer),
            usage=total or LLMUsage.empty_usage(),
        )
        self.queue_manager.publish(QueueMessageEndEvent(llm_result=result), PublishFrom.APPLICATION_MANAGER)

    def _publish_thought(self, agent_thought_id: str) -> None:
        self.queue_manager.publish(
            QueueAgentThoughtEvent(agent_thought_id=agent_thought_id), PublishFrom.APPLICATION_MANAGER
        )

    def _organize_prompt_messages(self) -> list[PromptMessage]:
        instruction = self.app_config.prompt_template.simple_prompt_template or ""
        system: list[PromptMessage] = [SystemPromptMessage(content=instruction)] if instruction else []
        return [
            *system,
            *self.history_prompt_messages,
            UserPromptMessage(content=self.query),
            *self._current_thoughts,
        ]
