from typing import cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.agent.cot_chat_agent_runner import CotChatAgentRunner
from core.agent.entities import AgentEntity
from core.agent.fc_agent_runner import FunctionCallAgentRunner
from core.app.apps.agent_chat.app_config_manager import AgentChatAppConfig
from core.app.apps.base_app_queue_manager import AppQueueManager
from core.app.apps.base_app_runner import AppRunner
from core.app.entities.app_invoke_entities import AgentChatAppGenerateEntity
from core.model_manager import ModelInstance
from core.moderation.base import ModerationError
from models.model import App, Conversation, Message


class AgentChatAppRunner(AppRunner):
    def run(
        self,
        application_generate_entity: AgentChatAppGenerateEntity,
        queue_manager: AppQueueManager,
        conversation: Conversation,
        message: Message,
        session: Session,
    ) -> None:
        entity = application_generate_entity
        app_config = cast(AgentChatAppConfig, entity.app_config)
        app_record = session.scalar(select(App).where(App.id == app_config.app_id))
        if app_record is None:
            raise ValueError("App not found")
        memory = self.history(conversation.id, message.id)
        try:
            _, inputs, query = self.moderation_for_inputs(
                app_id=app_record.id,
                tenant_id=app_config.tenant_id,
                app_generate_entity=entity,
                inputs=entity.inputs,
                query=entity.query,
                message_id=message.id,
            )
        except ModerationError as exc:
            self.direct_output(queue_manager, entity, memory, str(exc), entity.stream)
            return
        agent = app_config.agent
        assert agent is not None
        model_instance = ModelInstance(
            provider_model_bundle=entity.model_conf.provider_model_bundle, model=entity.model_conf.model
        )
        common = {
            "session": session,
            "tenant_id": app_config.tenant_id,
            "application_generate_entity": entity,
            "conversation": conversation,
            "app_config": app_config,
            "model_config": entity.model_conf,
            "config": agent,
            "queue_manager": queue_manager,
            "message": message,
            "user_id": entity.user_id,
            "model_instance": model_instance,
            "prompt_messages": memory,
        }
        if agent.strategy == AgentEntity.Strategy.FUNCTION_CALLING:
            invoke_result = FunctionCallAgentRunner(**common).run(session, message=message, query=query, inputs=inputs)
        else:
            invoke_result = CotChatAgentRunner(**common).run(session, message=message, query=query, inputs=inputs)
        self._handle_invoke_result(
            invoke_result=invoke_result,
            queue_manager=queue_manager,
            stream=True,
            agent=True,
            message_id=message.id,
            user_id=entity.user_id,
            tenant_id=app_config.tenant_id,
        )
