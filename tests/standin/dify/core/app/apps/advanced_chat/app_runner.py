import time
from collections.abc import Mapping, Sequence
from typing import Any

from graphon.enums import WorkflowType
from graphon.filters import ResponseStreamFilter
from graphon.graph_engine.command_channels import RedisChannel
from graphon.graph_engine.layers import GraphEngineLayer
from graphon.runtime import GraphRuntimeState, VariablePool
from sqlalchemy import select

from core.app.apps.base_app_queue_manager import AppQueueManager
from core.app.apps.workflow_app_runner import WorkflowBasedAppRunner
from core.app.entities.app_invoke_entities import AdvancedChatAppGenerateEntity, AppGenerateEntity
from core.app.entities.queue_entities import QueueStopEvent, QueueTextChunkEvent
from core.app.workflow.layers.persistence import PersistenceWorkflowInfo, WorkflowPersistenceLayer
from core.db.session_factory import create_session
from core.moderation.base import ModerationError
from core.moderation.input_moderation import InputModeration
from core.repositories.factory import WorkflowExecutionRepository, WorkflowNodeExecutionRepository
from core.workflow.node_factory import get_default_root_node_id
from core.workflow.system_variables import add_node_inputs_to_pool, add_variables_to_pool, build_system_variables
from core.workflow.workflow_entry import WorkflowEntry
from extensions.ext_redis import redis_client
from extensions.otel import WorkflowAppRunnerHandler, trace_span
from models.model import App, Conversation, Message
from models.workflow import Workflow


class AdvancedChatAppRunner(WorkflowBasedAppRunner):
    def __init__(
        self,
        *,
        application_generate_entity: AdvancedChatAppGenerateEntity,
        queue_manager: AppQueueManager,
        conversation: Conversation,
        message: Message,
        dialogue_count: int,
        variable_loader: Any,
        workflow: Workflow,
        system_user_id: str,
        app: App,
        workflow_execution_repository: WorkflowExecutionRepository,
        workflow_node_execution_repository: WorkflowNodeExecutionRepository,
        graph_engine_layers: Sequence[GraphEngineLayer] = (),
        graph_runtime_state: GraphRuntimeState | None = None,
        response_stream_filter: ResponseStreamFilter | None = None,
    ):
        super().__init__(
            queue_manager=queue_manager,
            variable_loader=variable_loader,
            app_id=application_generate_entity.app_config.app_id,
            graph_engine_layers=graph_engine_layers,
        )
        self.application_generate_entity = application_generate_entity
        self.conversation = conversation
        self.message = message
        self._dialogue_count = dialogue_count
        self._workflow = workflow
        self.system_user_id = system_user_id
        self._app = app
        self._workflow_execution_repository = workflow_execution_repository
        self._workflow_node_execution_repository = workflow_node_execution_repository
        self._resume_graph_runtime_state = graph_runtime_state
        self._response_stream_filter = response_stream_filter

    @trace_span(WorkflowAppRunnerHandler)
    def run(self) -> None:
        entity = self.application_generate_entity
        app_config = entity.app_config
        with create_session() as session:
            app_record = session.scalar(select(App).where(App.id == app_config.app_id))
        if app_record is None:
            raise ValueError("App not found")
        user_from = self._resolve_user_from(entity.invoke_from)
        graph_config = self._workflow.graph_dict
        root_node_id = get_default_root_node_id(graph_config)
        state = self._resume_graph_runtime_state
        if state is None:
            stop, new_inputs, new_query = self.handle_input_moderation(
                app_record=self._app,
                app_generate_entity=entity,
                inputs=entity.inputs,
                query=entity.query,
                message_id=self.message.id,
            )
            if stop:
                return
            entity.inputs = new_inputs
            entity.query = new_query
            variable_pool = VariablePool()
            add_variables_to_pool(
                variable_pool,
                build_system_variables(
                    query=entity.query,
                    files=list(entity.files),
                    conversation_id=self.conversation.id,
                    user_id=self.system_user_id,
                    dialogue_count=self._dialogue_count,
                    app_id=app_config.app_id,
                    workflow_id=app_config.workflow_id,
                    workflow_execution_id=entity.workflow_run_id,
                ),
            )
            add_node_inputs_to_pool(variable_pool, node_id=root_node_id, inputs=entity.inputs)
            state = GraphRuntimeState(variable_pool=variable_pool, start_at=time.time())
        graph = self._init_graph(
            graph_config=graph_config,
            graph_runtime_state=state,
            workflow_id=self._workflow.id,
            tenant_id=self._workflow.tenant_id,
            user_id=entity.user_id,
            user_from=user_from,
            invoke_from=entity.invoke_from,
            root_node_id=root_node_id,
        )
        workflow_entry = WorkflowEntry(
            tenant_id=self._workflow.tenant_id,
            app_id=self._workflow.app_id,
            workflow_id=self._workflow.id,
            graph=graph,
            graph_config=graph_config,
            user_id=entity.user_id,
            user_from=user_from,
            invoke_from=entity.invoke_from,
            call_depth=entity.call_depth,
            variable_pool=state.variable_pool,
            graph_runtime_state=state,
            command_channel=RedisChannel(redis_client, f"workflow:{entity.task_id}:commands"),
            response_stream_filter=self._response_stream_filter,
        )
        self._queue_manager.graph_runtime_state = state
        workflow_entry.graph_engine.layer(
            WorkflowPersistenceLayer(
                application_generate_entity=entity,
                workflow_info=PersistenceWorkflowInfo(
                    workflow_id=self._workflow.id,
                    workflow_type=WorkflowType(self._workflow.type),
                    version=self._workflow.version,
                    graph_data=graph_config,
                ),
                workflow_execution_repository=self._workflow_execution_repository,
                workflow_node_execution_repository=self._workflow_node_execution_repository,
                trace_manager=entity.trace_manager,
            )
        )
        for layer in self._graph_engine_layers:
            workflow_entry.graph_engine.layer(layer)
        for event in workflow_entry.run():
            self._handle_event(workflow_entry, event)

    def handle_input_moderation(
        self,
        app_record: App,
        app_generate_entity: AdvancedChatAppGenerateEntity,
        inputs: Mapping[str, Any],
        query: str,
        message_id: str,
    ) -> tuple[bool, Mapping[str, Any], str]:
        try:
            _, inputs, query = self.moderation_for_inputs(
                app_id=app_record.id,
                tenant_id=app_generate_entity.app_config.tenant_id,
                app_generate_entity=app_generate_entity,
                inputs=inputs,
                query=query,
                message_id=message_id,
            )
        except ModerationError as exc:
            self._complete_with_stream_output(text=str(exc), stopped_by=QueueStopEvent.StopBy.INPUT_MODERATION)
            return True, inputs, query
        return False, inputs, query

    def _complete_with_stream_output(self, text: str, stopped_by: QueueStopEvent.StopBy) -> None:
        self._publish_event(QueueTextChunkEvent(text=text))
        self._publish_event(QueueStopEvent(stopped_by=stopped_by))

    def moderation_for_inputs(
        self,
        *,
        app_id: str,
        tenant_id: str,
        app_generate_entity: AppGenerateEntity,
        inputs: Mapping[str, Any],
        query: str | None = None,
        message_id: str,
    ) -> tuple[bool, Mapping[str, Any], str]:
        return InputModeration().check(
            app_id=app_id,
            tenant_id=tenant_id,
            app_config=app_generate_entity.app_config,
            inputs=dict(inputs),
            query=query or "",
            message_id=message_id,
            trace_manager=app_generate_entity.trace_manager,
        )
