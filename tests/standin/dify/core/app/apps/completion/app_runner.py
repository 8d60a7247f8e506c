from sqlalchemy import select
from sqlalchemy.orm import Session

from core.app.apps.base_app_queue_manager import AppQueueManager
from core.app.apps.base_app_runner import AppRunner
from core.app.entities.app_invoke_entities import CompletionAppGenerateEntity
from core.model_manager import ModelInstance
from core.moderation.base import ModerationError
from models.model import App, Message


class CompletionAppRunner(AppRunner):
    def run(
        self,
        application_generate_entity: CompletionAppGenerateEntity,
        queue_manager: AppQueueManager,
        message: Message,
        session: Session,
    ) -> None:
        entity = application_generate_entity
        app_config = entity.app_config
        app_record = session.scalar(select(App).where(App.id == app_config.app_id))
        if app_record is None:
            raise ValueError("App not found")
        prompt_messages, stop = self.organize_prompt_messages(
            app_record=app_record,
            model_config=entity.model_conf,
            prompt_template_entity=app_config.prompt_template,
            inputs=entity.inputs,
            files=entity.files,
            query=entity.query,
        )
        try:
            self.moderation_for_inputs(
                app_id=app_record.id,
                tenant_id=app_config.tenant_id,
                app_generate_entity=entity,
                inputs=entity.inputs,
                query=entity.query,
                message_id=message.id,
            )
        except ModerationError as exc:
            self.direct_output(queue_manager, entity, prompt_messages, str(exc), entity.stream)
            return
        session.commit()
        session.close()
        model_instance = ModelInstance(
            provider_model_bundle=entity.model_conf.provider_model_bundle, model=entity.model_conf.model
        )
        invoke_result = model_instance.invoke_llm(
            prompt_messages=prompt_messages,
            model_parameters=entity.model_conf.parameters,
            stop=stop,
            stream=entity.stream,
            request_metadata={"app_id": app_config.app_id},
        )
        self._handle_invoke_result(
            invoke_result=invoke_result,
            queue_manager=queue_manager,
            stream=entity.stream,
            message_id=message.id,
            user_id=entity.user_id,
            tenant_id=app_config.tenant_id,
        )
