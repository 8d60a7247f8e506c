"""Agent by reasoning in text: `Action: {"action": …, "action_input": …}` until a final answer."""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from typing import Any

from graphon.model_runtime.entities.llm_entities import LLMResult, LLMResultChunk, LLMResultChunkDelta, LLMUsage
from graphon.model_runtime.entities.message_entities import AssistantPromptMessage, PromptMessage
from sqlalchemy.orm import Session

from core.agent.base_agent_runner import BaseAgentRunner, add_usage
from core.agent.entities import AgentScratchpadUnit
from core.app.apps.base_app_queue_manager import PublishFrom
from core.app.entities.queue_entities import QueueAgentThoughtEvent, QueueMessageEndEvent
from core.ops.ops_trace_manager import TraceQueueManager
from core.tools.__base.tool import Tool
from core.tools.entities.tool_entities import ToolInvokeMeta
from core.tools.tool_engine import ToolEngine
from models.model import Message

_ACTION = re.compile(r"Action:\s*(\{.*\})", re.DOTALL)


class CotAgentRunner(BaseAgentRunner, ABC):
    _agent_scratchpad: list[AgentScratchpadUnit]
    _query: str

    def run(
        self, session: Session, message: Message, query: str, inputs: Mapping[str, Any]
    ) -> Generator[LLMResultChunk, None, None]:
        entity = self.application_generate_entity
        agent = self.app_config.agent
        assert agent is not None
        self._query = query
        self._agent_scratchpad = []
        if "Observation" not in entity.model_conf.stop:
            entity.model_conf.stop.append("Observation")
        tool_instances, self._prompt_messages_tools = self._init_prompt_tools()
        total: LLMUsage | None = None
        final_answer = ""
        prompt_messages: list[PromptMessage] = []
        thought_id = ""
        for step in range(1, min(agent.max_iteration, 99) + 2):
            thought_id = self.create_agent_thought(
                message_id=message.id, message="", tool_name="", tool_input="", messages_ids=[]
            )
            self._publish_thought(thought_id)
            prompt_messages = self._organize_prompt_messages()
            session.commit()
            session.close()
            usage: LLMUsage | None = None
            text = ""
            for chunk in self.model_instance.invoke_llm(
                prompt_messages=prompt_messages,
                model_parameters=entity.model_conf.parameters,
                tools=[],
                stop=entity.model_conf.stop,
                stream=True,
                callbacks=[],
                request_metadata={"app_id": self.app_config.app_id},
            ):
                text += chunk.delta.message.get_text_content()
                usage = chunk.delta.usage or usage
                yield LLMResultChunk(
                    model=self.model_instance.model_name,
                    prompt_messages=prompt_messages,
                    delta=LLMResultChunkDelta(index=0, message=chunk.delta.message),
                )
            total = add_usage(total, usage)
            unit = AgentScratchpadUnit(agent_response=text, thought=text, action=self._parse_action(text))
            self._agent_scratchpad.append(unit)
            action = unit.action
            self.save_agent_thought(
                agent_thought_id=thought_id,
                tool_name=action.action_name if action else "",
                tool_input={action.action_name: action.action_input} if action else {},
                tool_invoke_meta={},
                thought=text,
                observation="",
                answer=text,
                messages_ids=[],
                llm_usage=usage,
            )
            if action is None or step > agent.max_iteration:
                final_answer = text
                break
            observation, meta = self._handle_invoke_action(
                session=session,
                action=action,
                tool_instances=tool_instances,
                message_file_ids=[],
                trace_manager=entity.trace_manager,
            )
            unit.observation = observation
            self.save_agent_thought(
                agent_thought_id=thought_id,
                tool_name=action.action_name,
                tool_input={action.action_name: action.action_input},
                thought="",
                observation={action.action_name: observation},
                tool_invoke_meta={action.action_name: meta.to_dict()},
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

    @staticmethod
    def _parse_action(text: str) -> AgentScratchpadUnit.Action | None:
        found = _ACTION.search(text)
        if found is None:
            return None
        parsed = json.loads(found.group(1))
        return AgentScratchpadUnit.Action(action_name=parsed["action"], action_input=parsed["action_input"])

    def _handle_invoke_action(
        self,
        session: Session,
        action: AgentScratchpadUnit.Action,
        tool_instances: Mapping[str, Tool],
        message_file_ids: list[str],
        trace_manager: TraceQueueManager | None = None,
    ) -> tuple[str, ToolInvokeMeta]:
        tool = tool_instances.get(action.action_name)
        if tool is None:
            answer = f"there is not a tool named {action.action_name}"
            return answer, ToolInvokeMeta.error_instance(answer)
        text, _, meta = ToolEngine.agent_invoke(
            session=session,
            tool=tool,
            tool_parameters=action.action_input,
            user_id=self.user_id,
            tenant_id=self.tenant_id,
            message=self.message,
            invoke_from=self.application_generate_entity.invoke_from,
            agent_tool_callback=self.agent_callback,
            trace_manager=trace_manager,
        )
        session.commit()
        session.close()
        return text, meta

    @abstractmethod
    def _organize_prompt_messages(self) -> list[PromptMessage]:
        raise NotImplementedError
