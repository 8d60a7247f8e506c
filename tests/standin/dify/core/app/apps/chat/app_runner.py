from sqlalchemy import select
from sqlalchemy.orm import Session

from core.app.apps.base_app_queue_manager import AppQueueManager, PublishFrom
from core.app.apps.base_app_runner import AppRunner
from core.app.entities.app_invoke_entities import ChatAppGenerateEntity
from core.app.entities.queue_entities import QueueRetrieverResourcesEvent
from core.db.session_factory import create_session
from core.model_manager import ModelInstance
from core.moderation.base import ModerationError
from core.rag.retrieval.dataset_retrieval import DatasetRetrieval
from models.model import App, Conversation, Message


class ChatAppRunner(AppRunner):
    def run(
        self,
        application_generate_entity: ChatAppGenerateEntity,
        queue_manager: AppQueueManager,
        conversation: Conversation,
        message: Message,
        session: Session,
    ) -> None:
        entity = application_generate_entity
        app_config = entity.app_config
        with create_session() as read_session:
            app_record = read_session.scalar(select(App).where(App.id == app_config.app_id))
        if app_record is None:
            raise ValueError("App not found")
        memory = self.history(conversation.id, message.id)
        prompt_messages, stop = self.organize_prompt_messages(
            app_record=app_record,
            model_config=entity.model_conf,
            prompt_template_entity=app_config.prompt_template,
            inputs=entity.inputs,
            files=entity.files,
            query=entity.query,
            memory=memory,
        )
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
            self.direct_output(queue_manager, entity, prompt_messages, str(exc), entity.stream)
            return
        context = None
        if app_config.dataset and app_config.dataset.dataset_ids:
            features = app_config.additional_features
            context, _ = DatasetRetrieval(entity).retrieve(
                session=session,
                app_id=app_record.id,
                user_id=entity.user_id,
                tenant_id=app_record.tenant_id,
                model_config=entity.model_conf,
                config=app_config.dataset,
                query=query,
                invoke_from=entity.invoke_from,
                show_retrieve_source=bool(features and features.show_retrieve_source),
                hit_callback=lambda resources: queue_manager.publish(
                    QueueRetrieverResourcesEvent(retriever_resources=resources), PublishFrom.APPLICATION_MANAGER
                ),
                memory=memory,
                message_id=message.id,
                inputs=inputs,
            )
        session.commit()
        session.close()
        prompt_messages, stop = self.organize_prompt_messages(
            app_record=app_record,
            model_config=entity.model_conf,
            prompt_template_entity=app_config.prompt_template,
            inputs=inputs,
            files=entity.files,
            query=query,
            context=context,
            memory=memory,
        )
        self.recalc_llm_max_tokens(model_config=entity.model_conf, prompt_messages=prompt_messages)
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
