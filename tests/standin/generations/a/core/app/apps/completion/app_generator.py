import threading
import uuid

from core.app.apps.base_app_queue_manager import AppQueueManager
from core.app.apps.completion.app_runner import CompletionAppRunner
from core.app.apps.message_based_app_generator import MessageBasedAppGenerator
from core.app.entities.app_invoke_entities import (
    AppConfig,
    CompletionAppGenerateEntity,
    ModelConfigWithCredentialsEntity,
)
from core.app.entities.queue_entities import QueueErrorEvent
from models.model import DATABASE, Message


class CompletionAppGenerator(MessageBasedAppGenerator):
    def generate(self, app_model, user, args, invoke_from, streaming=True):
        entity = CompletionAppGenerateEntity(
            task_id=str(uuid.uuid4()),
            app_config=AppConfig(app_model.tenant_id, app_model.id, "completion"),
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
        threading.Thread(
            target=self._generate_worker,
            kwargs={
                "flask_app": None,
                "application_generate_entity": entity,
                "queue_manager": queue_manager,
                "message_id": message.id,
            },
        ).start()
        return self._handle_response(entity, queue_manager, conversation, message, user, streaming)

    def _generate_worker(self, flask_app, application_generate_entity, queue_manager, message_id):
        self._run(application_generate_entity, queue_manager, message_id)

    def _run(self, entity, queue_manager, message_id):
        try:
            CompletionAppRunner().run(entity, queue_manager, DATABASE.get(Message, message_id))
        except Exception as exc:
            queue_manager.publish(QueueErrorEvent(exc))
        finally:
            queue_manager.stop_listen()

    def generate_more_like_this(self, app_model, message_id, user, invoke_from, stream=True):
        message = DATABASE.get(Message, message_id)
        return self.generate(app_model, user, {"inputs": message.inputs, "query": message.query}, invoke_from, stream)
