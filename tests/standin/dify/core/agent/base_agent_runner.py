"""What agent runners share: their tools, and one `MessageAgentThought` row an iteration."""

import json
from typing import Any

from graphon.model_runtime.entities.llm_entities import LLMUsage
from graphon.model_runtime.entities.message_entities import PromptMessage, PromptMessageTool
from graphon.model_runtime.entities.model_entities import ModelFeature
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.agent.entities import AgentEntity, AgentToolEntity
from core.app.apps.agent_chat.app_config_manager import AgentChatAppConfig
from core.app.apps.base_app_queue_manager import AppQueueManager
from core.app.apps.base_app_runner import AppRunner
from core.app.entities.app_invoke_entities import AgentChatAppGenerateEntity, ModelConfigWithCredentialsEntity
from core.callback_handler.agent_tool_callback_handler import DifyAgentCallbackHandler
from core.model_manager import ModelInstance
from core.tools.__base.tool import Tool
from core.tools.tool_manager import ToolManager
from extensions.ext_database import db
from models.model import Conversation, Message, MessageAgentThought


def add_usage(total: LLMUsage | None, usage: LLMUsage | None) -> LLMUsage | None:
    if usage is None or total is None:
        return usage or total
    return total.plus(usage)


class BaseAgentRunner(AppRunner):
    def __init__(
        self,
        *,
        session: Session,
        tenant_id: str,
        application_generate_entity: AgentChatAppGenerateEntity,
        conversation: Conversation,
        app_config: AgentChatAppConfig,
        model_config: ModelConfigWithCredentialsEntity,
        config: AgentEntity,
        queue_manager: AppQueueManager,
        message: Message,
        user_id: str,
        model_instance: ModelInstance,
        memory: Any | None = None,
        prompt_messages: list[PromptMessage] | None = None,
    ) -> None:
        self.tenant_id = tenant_id
        self.application_generate_entity = application_generate_entity
        self.conversation = conversation
        self.app_config = app_config
        self.model_config = model_config
        self.config = config
        self.queue_manager = queue_manager
        self.message = message
        self.user_id = user_id
        self.memory = memory
        self.history_prompt_messages = list(prompt_messages or [])
        self.model_instance = model_instance
        self.agent_callback = DifyAgentCallbackHandler()
        self.agent_thought_count = (
            session.scalar(
                select(func.count())
                .select_from(MessageAgentThought)
                .where(MessageAgentThought.message_id == self.message.id)
            )
            or 0
        )
        features = model_config.model_schema.features or []
        self.stream_tool_call = ModelFeature.STREAM_TOOL_CALL in features
        self.files = application_generate_entity.files if ModelFeature.VISION in features else []
        self.query: str = ""
        self._current_thoughts: list[PromptMessage] = []

    def _convert_tool_to_prompt_message_tool(self, tool: AgentToolEntity) -> tuple[PromptMessageTool, Tool]:
        runtime = ToolManager.get_tool_runtime(
            provider_type=tool.provider_type,
            provider_id=tool.provider_id,
            tool_name=tool.tool_name,
            tenant_id=self.tenant_id,
            invoke_from=self.application_generate_entity.invoke_from,
            user_id=self.user_id,
            runtime_parameters=tool.tool_parameters,
        )
        entity = runtime.entity
        properties = {item.name: {"type": item.type.value, "description": ""} for item in entity.parameters}
        described = PromptMessageTool(
            name=tool.tool_name,
            description=entity.description.llm if entity.description else "",
            parameters={
                "type": "object",
                "properties": properties,
                "required": [item.name for item in entity.parameters if item.required],
            },
        )
        return described, runtime

    def _init_prompt_tools(self) -> tuple[dict[str, Tool], list[PromptMessageTool]]:
        instances: dict[str, Tool] = {}
        described: list[PromptMessageTool] = []
        for tool in self.config.tools or []:
            prompt_tool, runtime = self._convert_tool_to_prompt_message_tool(tool)
            instances[tool.tool_name] = runtime
            described.append(prompt_tool)
        return instances, described

    def update_prompt_message_tool(self, tool: Tool, prompt_tool: PromptMessageTool) -> PromptMessageTool:
        return prompt_tool

    def create_agent_thought(
        self, message_id: str, message: str, tool_name: str, tool_input: str, messages_ids: list[str]
    ) -> str:
        thought = MessageAgentThought(
            message_id=message_id,
            thought="",
            tool=tool_name,
            tool_input=tool_input,
            message=message,
            message_files=json.dumps(messages_ids) if messages_ids else "",
            answer="",
            observation="",
            position=self.agent_thought_count + 1,
            created_by=self.user_id,
        )
        db.session.add(thought)
        db.session.commit()
        agent_thought_id = str(thought.id)
        self.agent_thought_count += 1
        db.session.close()
        return agent_thought_id

    def save_agent_thought(
        self,
        agent_thought_id: str,
        tool_name: str | None,
        tool_input: str | dict[str, Any] | None,
        thought: str | None,
        observation: str | dict[str, Any] | None,
        tool_invoke_meta: str | dict[str, Any] | None,
        answer: str | None,
        messages_ids: list[str],
        llm_usage: LLMUsage | None = None,
    ) -> None:
        row = db.session.scalar(select(MessageAgentThought).where(MessageAgentThought.id == agent_thought_id))
        if row is None:
            raise ValueError("agent thought not found")

        def text(value: str | dict[str, Any]) -> str:
            return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)

        if thought:
            row.thought = (row.thought or "") + thought
        if tool_name:
            row.tool = tool_name
        if tool_input:
            row.tool_input = text(tool_input)
        if observation:
            row.observation = text(observation)
        if answer:
            row.answer = answer
        if tool_invoke_meta is not None:
            row.tool_meta_str = text(tool_invoke_meta)
        if llm_usage:
            row.message_token = llm_usage.prompt_tokens
            row.answer_token = llm_usage.completion_tokens
            row.tokens = llm_usage.total_tokens
            row.total_price = llm_usage.total_price
        row.tool_labels_str = json.dumps({name: {"en_US": name} for name in (row.tool or "").split(";") if name})
        db.session.commit()
        db.session.close()
