from core.agent.entities import AgentEntity
from core.app.app_config.easy_ui import common_fields
from core.app.app_config.entities import EasyUIBasedAppConfig
from models.model import App, AppModelConfig, Conversation


class AgentChatAppConfig(EasyUIBasedAppConfig):
    agent: AgentEntity | None = None


class AgentChatAppConfigManager:
    @classmethod
    def get_app_config(
        cls, app_model: App, app_model_config: AppModelConfig, conversation: Conversation | None = None
    ) -> AgentChatAppConfig:
        fields = common_fields(app_model, app_model_config, conversation)
        agent_mode = fields["app_model_config_dict"]["agent_mode"]
        model = fields["model"]
        agent = AgentEntity(
            provider=model.provider,
            model=model.model,
            strategy=AgentEntity.Strategy(agent_mode.get("strategy", "function-calling")),
            tools=agent_mode.get("tools", []),
            max_iteration=agent_mode.get("max_iteration", 10),
        )
        return AgentChatAppConfig(**fields, agent=agent)
