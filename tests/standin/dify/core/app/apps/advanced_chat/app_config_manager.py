from core.app.app_config.entities import SensitiveWordAvoidanceEntity, WorkflowUIBasedAppConfig
from models.model import App, AppMode
from models.workflow import Workflow


class AdvancedChatAppConfig(WorkflowUIBasedAppConfig):
    pass


class AdvancedChatAppConfigManager:
    @classmethod
    def get_app_config(cls, app_model: App, workflow: Workflow) -> AdvancedChatAppConfig:
        moderation = workflow.features_dict.get("sensitive_word_avoidance") or {}
        return AdvancedChatAppConfig(
            tenant_id=app_model.tenant_id,
            app_id=app_model.id,
            app_mode=AppMode(app_model.mode),
            workflow_id=workflow.id,
            sensitive_word_avoidance=SensitiveWordAvoidanceEntity(type=moderation["type"], config=moderation["config"])
            if moderation.get("enabled")
            else None,
        )
