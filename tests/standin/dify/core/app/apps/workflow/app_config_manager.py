from core.app.app_config.entities import WorkflowUIBasedAppConfig
from models.model import App, AppMode
from models.workflow import Workflow


class WorkflowAppConfig(WorkflowUIBasedAppConfig):
    pass


class WorkflowAppConfigManager:
    @classmethod
    def get_app_config(cls, app_model: App, workflow: Workflow) -> WorkflowAppConfig:
        return WorkflowAppConfig(
            tenant_id=app_model.tenant_id,
            app_id=app_model.id,
            app_mode=AppMode(app_model.mode),
            workflow_id=workflow.id,
        )
