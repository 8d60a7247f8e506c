from core.agent.fc_agent_runner import FunctionCallAgentRunner
from core.app.entities.queue_entities import QueueLLMChunkEvent
from core.model_manager import ModelInstance, bundle


class AgentChatAppRunner:
    def run(self, application_generate_entity, queue_manager, conversation, message):
        entity = application_generate_entity
        runner = FunctionCallAgentRunner(
            tenant_id=entity.app_config.tenant_id,
            application_generate_entity=entity,
            queue_manager=queue_manager,
            message=message,
            user_id=entity.user_id,
            model_instance=ModelInstance(bundle(), entity.model_conf.model),
        )
        for chunk in runner.run(message=message, query=entity.query, inputs=entity.inputs):
            queue_manager.publish(QueueLLMChunkEvent(chunk))
