import queue

from core.app.apps.base_app_generator import BaseAppGenerator
from core.app.task_pipeline.easy_ui_based_generate_task_pipeline import EasyUIBasedGenerateTaskPipeline
from models.model import DATABASE, Account, Conversation, Message

# In place of Redis: what a run publishes, and the request reads.
TOPICS: dict = {}


class MessageBasedAppGenerator(BaseAppGenerator):
    def _handle_response(self, application_generate_entity, queue_manager, conversation, message, user, stream=False):
        return EasyUIBasedGenerateTaskPipeline(
            application_generate_entity, queue_manager, conversation, message, stream
        ).process()

    def _init_generate_records(self, application_generate_entity, conversation=None):
        entity = application_generate_entity
        conversation = conversation or Conversation(entity.app_config.app_id, entity.app_config.app_mode)
        by_account = entity.invoke_from.value in ("explore", "debugger")
        message = Message(
            app_id=entity.app_config.app_id,
            conversation_id=conversation.id,
            query=entity.query,
            inputs=dict(entity.inputs),
            model_provider=entity.model_conf.provider if entity.model_conf else None,
            model_id=entity.model_conf.model if entity.model_conf else None,
            invoke_from=entity.invoke_from.value,
            from_source="console" if by_account else "api",
            from_end_user_id=None if by_account else entity.user_id,
            from_account_id=entity.user_id if by_account else None,
            agent_based=entity.app_config.app_mode == "agent-chat",
        )
        DATABASE.add(conversation)
        DATABASE.add(message)
        entity.conversation_id = conversation.id
        return conversation, message

    @classmethod
    def get_response_topic(cls, app_mode, workflow_run_id):
        return TOPICS.setdefault((app_mode, workflow_run_id), queue.Queue())

    @classmethod
    def retrieve_events(cls, app_mode, workflow_run_id, idle_timeout=300, on_subscribe=None):
        topic = cls.get_response_topic(app_mode, workflow_run_id)
        if on_subscribe is not None:
            on_subscribe()
        while (event := topic.get(timeout=30)) is not None:
            yield event


def session_id_of(user) -> str:
    return user.id if isinstance(user, Account) else user.session_id
