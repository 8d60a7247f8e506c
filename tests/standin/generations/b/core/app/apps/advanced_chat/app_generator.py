import contextvars
import threading
import uuid

from core.app.apps.advanced_chat.app_runner import AdvancedChatAppRunner
from core.app.apps.advanced_chat.generate_task_pipeline import AdvancedChatAppGenerateTaskPipeline
from core.app.apps.base_app_queue_manager import AppQueueManager
from core.app.apps.message_based_app_generator import MessageBasedAppGenerator
from core.app.apps.workflow.app_generator import WORKFLOWS
from core.app.entities.app_invoke_entities import AdvancedChatAppGenerateEntity, AppConfig
from core.app.entities.queue_entities import QueueErrorEvent
from libs.flask_utils import preserve_flask_contexts
from models.model import DATABASE, Conversation, Message


class AdvancedChatAppGenerator(MessageBasedAppGenerator):
    def generate(self, app_model, workflow, user, args, invoke_from, streaming=True):
        WORKFLOWS[workflow.id] = workflow
        entity = AdvancedChatAppGenerateEntity(
            task_id=str(uuid.uuid4()),
            app_config=AppConfig(app_model.tenant_id, app_model.id, app_model.mode, workflow.id),
            inputs=args.get("inputs", {}),
            user_id=user.id,
            stream=streaming,
            invoke_from=invoke_from,
            query=args.get("query", ""),
            workflow_run_id=str(uuid.uuid4()),
        )
        return self._generate(
            workflow=workflow,
            user=user,
            invoke_from=invoke_from,
            application_generate_entity=entity,
            workflow_execution_repository=None,
            workflow_node_execution_repository=None,
            stream=streaming,
        )

    def _generate(
        self,
        *,
        workflow,
        user,
        invoke_from,
        application_generate_entity,
        workflow_execution_repository,
        workflow_node_execution_repository,
        conversation=None,
        stream=True,
        variable_loader=None,
    ):
        conversation, message = self._init_generate_records(application_generate_entity, conversation)
        queue_manager = AppQueueManager(application_generate_entity.task_id, user.id, invoke_from)
        context = contextvars.copy_context()
        threading.Thread(
            target=self._generate_worker,
            kwargs={
                "flask_app": None,
                "application_generate_entity": application_generate_entity,
                "queue_manager": queue_manager,
                "conversation_id": conversation.id,
                "message_id": message.id,
                "context": context,
                "variable_loader": variable_loader,
            },
        ).start()
        return AdvancedChatAppGenerateTaskPipeline(
            application_generate_entity, queue_manager, conversation, message, stream
        ).process()

    def _generate_worker(
        self,
        flask_app,
        application_generate_entity,
        queue_manager,
        conversation_id,
        message_id,
        context,
        variable_loader,
    ):
        with preserve_flask_contexts(flask_app, context_vars=context):
            conversation = DATABASE.get(Conversation, conversation_id)
            message = DATABASE.get(Message, message_id)
            runner = AdvancedChatAppRunner(
                application_generate_entity=application_generate_entity,
                queue_manager=queue_manager,
                conversation=conversation,
                message=message,
                dialogue_count=1,
                variable_loader=None,
                workflow=WORKFLOWS[application_generate_entity.app_config.workflow_id],
                system_user_id=application_generate_entity.user_id,
                app=None,
            )
            try:
                runner.run()
            except Exception as exc:
                queue_manager.publish(QueueErrorEvent(exc))
            finally:
                queue_manager.stop_listen()
