from collections.abc import Generator
from typing import Any

from sqlalchemy.orm import Session

from core.app.apps.base_app_queue_manager import AppQueueManager
from core.app.apps.workflow_response_converter import WorkflowResponseConverter
from core.app.entities.app_invoke_entities import InvokeFrom, WorkflowAppGenerateEntity
from core.app.entities.queue_entities import (
    QueueErrorEvent,
    QueuePingEvent,
    QueueTextChunkEvent,
    QueueWorkflowStartedEvent,
)
from core.app.entities.task_entities import (
    ErrorStreamResponse,
    StreamEvent,
    StreamResponse,
    WorkflowAppBlockingResponse,
    WorkflowAppStreamResponse,
    WorkflowStreamResponse,
)
from core.app.task_pipeline.based_generate_task_pipeline import BasedGenerateTaskPipeline
from core.db.session_factory import session_factory
from models.account import Account
from models.model import EndUser
from models.workflow import Workflow, WorkflowAppLog

_ENDS = {StreamEvent.WORKFLOW_FINISHED, StreamEvent.WORKFLOW_PAUSED}


class WorkflowAppGenerateTaskPipeline:
    def __init__(
        self,
        application_generate_entity: WorkflowAppGenerateEntity,
        workflow: Workflow,
        queue_manager: AppQueueManager,
        user: Account | EndUser,
        stream: bool,
        draft_var_saver_factory: Any,
    ):
        self._base_task_pipeline = BasedGenerateTaskPipeline(
            application_generate_entity=application_generate_entity, queue_manager=queue_manager, stream=stream
        )
        self._user_id = user.id
        self._application_generate_entity = application_generate_entity
        self._workflow = workflow
        self._workflow_execution_id = application_generate_entity.workflow_execution_id
        self._invoke_from = queue_manager.invoke_from
        self._workflow_response_converter = WorkflowResponseConverter(
            application_generate_entity=application_generate_entity,
            user=user,
            workflow_id=workflow.id,
            workflow_run_id=self._workflow_execution_id,
        )

    def process(self) -> WorkflowAppBlockingResponse | Generator[WorkflowAppStreamResponse, None, None]:
        generator = self._process_stream_response()
        if self._base_task_pipeline.stream:
            return self._to_stream_response(generator)
        return self._to_blocking_response(generator)

    def _to_blocking_response(self, generator: Generator[StreamResponse, None, None]) -> WorkflowAppBlockingResponse:
        for response in generator:
            if isinstance(response, ErrorStreamResponse):
                raise response.err
            if isinstance(response, WorkflowStreamResponse) and response.event in _ENDS:
                return WorkflowAppBlockingResponse(
                    task_id=response.task_id, workflow_run_id=response.workflow_run_id, data=response.data
                )
        raise ValueError("queue listening stopped unexpectedly.")

    def _to_stream_response(
        self, generator: Generator[StreamResponse, None, None]
    ) -> Generator[WorkflowAppStreamResponse, None, None]:
        for response in generator:
            yield WorkflowAppStreamResponse(workflow_run_id=self._workflow_execution_id, stream_response=response)

    def _process_stream_response(self) -> Generator[StreamResponse, None, None]:
        base = self._base_task_pipeline
        for message in base.queue_manager.listen():
            event = message.event
            if isinstance(event, QueuePingEvent):
                yield base.ping_stream_response()
            elif isinstance(event, QueueErrorEvent):
                yield base.error_to_stream_response(base.handle_error(event=event))
                break
            elif isinstance(event, QueueTextChunkEvent):
                yield WorkflowStreamResponse(
                    event=StreamEvent.TEXT_CHUNK,
                    task_id=self._application_generate_entity.task_id,
                    workflow_run_id=self._workflow_execution_id,
                    data={"text": event.text, "from_variable_selector": event.from_variable_selector},
                )
            else:
                if isinstance(event, QueueWorkflowStartedEvent):
                    with session_factory.create_session() as session:
                        self._save_workflow_app_log(session=session, workflow_run_id=self._workflow_execution_id)
                        session.commit()
                response = self._workflow_response_converter.convert(event, base.queue_manager.graph_runtime_state)
                if response is not None:
                    yield response
                    if response.event in _ENDS:
                        break

    def _save_workflow_app_log(self, *, session: Session, workflow_run_id: str | None) -> None:
        if self._invoke_from not in {InvokeFrom.SERVICE_API, InvokeFrom.WEB_APP, InvokeFrom.EXPLORE}:
            return
        session.add(
            WorkflowAppLog(
                tenant_id=self._application_generate_entity.app_config.tenant_id,
                app_id=self._application_generate_entity.app_config.app_id,
                workflow_id=self._workflow.id,
                workflow_run_id=workflow_run_id or "",
                created_from=self._invoke_from.value,
                created_by=self._user_id,
            )
        )
