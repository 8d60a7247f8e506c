import contextvars
import threading
import uuid
from types import SimpleNamespace

from core.app.apps.agent_chat.app_runner import AgentChatAppRunner
from core.app.apps.base_app_queue_manager import AppQueueManager
from core.app.apps.message_based_app_generator import MessageBasedAppGenerator
from core.app.entities.app_invoke_entities import (
    AgentChatAppGenerateEntity,
    AppConfig,
    ModelConfigWithCredentialsEntity,
)
from core.app.entities.queue_entities import QueueErrorEvent
from libs.flask_utils import preserve_flask_contexts
from models.model import DATABASE, Message


class AgentChatAppGenerator(MessageBasedAppGenerator):
    def generate(self, *, app_model, user, args, invoke_from, streaming=True):
        entity = AgentChatAppGenerateEntity(
            task_id=str(uuid.uuid4()),
            app_config=AppConfig(
                app_model.tenant_id,
                app_model.id,
                "agent-chat",
                agent=SimpleNamespace(max_iteration=3, strategy="function-calling"),
            ),
            inputs=args.get("inputs", {}),
            user_id=user.id,
            stream=streaming,
            invoke_from=invoke_from,
            query=args.get("query", ""),
            model_conf=ModelConfigWithCredentialsEntity(
                "langgenius/stub/stub", args.get("model", "stub-chat"), {"temperature": 0.5}
            ),
        )
        conversation, message = self._init_generate_records(entity)
        queue_manager = AppQueueManager(entity.task_id, user.id, invoke_from)
        context = contextvars.copy_context()
        threading.Thread(
            target=self._generate_worker,
            kwargs={
                "flask_app": None,
                "context": context,
                "application_generate_entity": entity,
                "queue_manager": queue_manager,
                "conversation_id": conversation.id,
                "message_id": message.id,
            },
        ).start()
        return self._handle_response(entity, queue_manager, conversation, message, user, streaming)

    def _generate_worker(
        self, flask_app, context, application_generate_entity, queue_manager, conversation_id, message_id
    ):
        with preserve_flask_contexts(flask_app, context_vars=context):
            self._run(application_generate_entity, queue_manager, message_id)

    def _run(self, entity, queue_manager, message_id):
        try:
            AgentChatAppRunner().run(entity, queue_manager, None, DATABASE.get(Message, message_id))
        except Exception as exc:
            queue_manager.publish(QueueErrorEvent(exc))
        finally:
            queue_manager.stop_listen()
