from core.tools.plugin_tool.tool import plugin_tool
from models.model import DATABASE, MessageAgentThought


class BaseAgentRunner:
    def __init__(self, *, tenant_id, application_generate_entity, queue_manager, message, user_id, model_instance):
        self.tenant_id = tenant_id
        self.application_generate_entity = application_generate_entity
        self.app_config = application_generate_entity.app_config
        self.queue_manager = queue_manager
        self.message = message
        self.user_id = user_id
        self.model_instance = model_instance
        self.agent_callback = None
        self.agent_thought_count = 0

    def _tool(self, name: str):
        return plugin_tool(name)

    def create_agent_thought(self, message_id, message, tool_name, tool_input, messages_ids) -> str:
        self.agent_thought_count += 1
        thought = MessageAgentThought(message_id, self.agent_thought_count)
        DATABASE.add(thought)
        return thought.id

    def save_agent_thought(
        self,
        agent_thought_id,
        tool_name,
        tool_input,
        thought,
        observation,
        tool_invoke_meta,
        answer,
        messages_ids,
        llm_usage=None,
    ):
        row = DATABASE.get(MessageAgentThought, agent_thought_id)
        row.thought += thought or ""
        row.tool = tool_name or row.tool
        row.observation = str(observation or row.observation)
