import contextvars
import threading
import uuid

from core.app.apps.base_app_generator import BaseAppGenerator
from core.app.apps.base_app_queue_manager import AppQueueManager
from core.app.apps.workflow.app_runner import WorkflowAppRunner
from core.app.entities.app_invoke_entities import AppConfig, WorkflowAppGenerateEntity
from core.app.entities.queue_entities import QueueErrorEvent, QueueWorkflowEvent
from core.workflow.graph_events import GraphRunFailedEvent, GraphRunStartedEvent, GraphRunSucceededEvent
from libs.flask_utils import preserve_flask_contexts

WORKFLOWS: dict = {}
"""Published workflows by id, in place of the database."""


class WorkflowAppGenerator(BaseAppGenerator):
    def generate(self, *, app_model, workflow, user, args, invoke_from, streaming=True, call_depth=0):
        WORKFLOWS[workflow.id] = workflow
        entity = WorkflowAppGenerateEntity(
            task_id=str(uuid.uuid4()),
            app_config=AppConfig(app_model.tenant_id, app_model.id, app_model.mode, workflow.id),
            inputs=args.get("inputs", {}),
            user_id=user.id,
            stream=streaming,
            invoke_from=invoke_from,
            call_depth=call_depth,
            workflow_execution_id=str(uuid.uuid4()),
        )
        return self._generate(
            app_model=app_model,
            workflow=workflow,
            user=user,
            application_generate_entity=entity,
            invoke_from=invoke_from,
            workflow_execution_repository=None,
            workflow_node_execution_repository=None,
            streaming=streaming,
        )

    def _generate(
        self,
        *,
        app_model,
        workflow,
        user,
        application_generate_entity,
        invoke_from,
        workflow_execution_repository,
        workflow_node_execution_repository,
        streaming=True,
        variable_loader=None,
    ):
        queue_manager = AppQueueManager(application_generate_entity.task_id, user.id, invoke_from)
        context = contextvars.copy_context()
        threading.Thread(
            target=self._generate_worker,
            kwargs={
                "flask_app": None,
                "application_generate_entity": application_generate_entity,
                "queue_manager": queue_manager,
                "context": context,
                "variable_loader": variable_loader,
            },
        ).start()
        events = self._events(application_generate_entity, queue_manager)
        if streaming:
            return events
        last = {}
        for event in events:
            last = event
        return last

    def _generate_worker(self, flask_app, application_generate_entity, queue_manager, context, variable_loader):
        with preserve_flask_contexts(flask_app, context_vars=context):
            runner = WorkflowAppRunner(
                application_generate_entity=application_generate_entity,
                queue_manager=queue_manager,
                variable_loader=variable_loader,
                workflow=WORKFLOWS[application_generate_entity.app_config.workflow_id],
                system_user_id=application_generate_entity.user_id,
            )
            try:
                runner.run()
            except Exception as exc:
                queue_manager.publish(QueueErrorEvent(exc))
            finally:
                queue_manager.stop_listen()

    @staticmethod
    def _events(entity, queue_manager):
        run_id = entity.workflow_execution_id
        for queued in queue_manager.listen():
            if isinstance(queued, QueueErrorEvent):
                yield {"event": "error", "message": str(queued.error)}
                return
            assert isinstance(queued, QueueWorkflowEvent)
            event = queued.event
            if isinstance(event, GraphRunStartedEvent):
                yield {"event": "workflow_started", "workflow_run_id": run_id, "data": {"id": run_id}}
            elif isinstance(event, GraphRunSucceededEvent):
                data = {"id": run_id, "status": "succeeded", "outputs": event.outputs, "error": None}
                yield {"event": "workflow_finished", "workflow_run_id": run_id, "data": data}
            elif isinstance(event, GraphRunFailedEvent):
                data = {"id": run_id, "status": "failed", "outputs": None, "error": event.error}
                yield {"event": "workflow_finished", "workflow_run_id": run_id, "data": data}
