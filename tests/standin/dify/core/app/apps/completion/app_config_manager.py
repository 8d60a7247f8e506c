from core.app.app_config.easy_ui import common_fields
from core.app.app_config.entities import EasyUIBasedAppConfig
from models.model import App, AppModelConfig


class CompletionAppConfig(EasyUIBasedAppConfig):
    pass


class CompletionAppConfigManager:
    @classmethod
    def get_app_config(cls, app_model: App, app_model_config: AppModelConfig) -> CompletionAppConfig:
        return CompletionAppConfig(**common_fields(app_model, app_model_config, None))
