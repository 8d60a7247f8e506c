import time
from collections.abc import Sequence
from typing import Any

from graphon.enums import WorkflowType
from graphon.filters import ResponseStreamFilter
from graphon.graph_engine.command_channels import RedisChannel
from graphon.graph_engine.layers import GraphEngineLayer
from graphon.runtime import GraphRuntimeState, VariablePool

from core.app.apps.base_app_queue_manager import AppQueueManager
from core.app.apps.workflow_app_runner import WorkflowBasedAppRunner
from core.app.entities.app_invoke_entities import WorkflowAppGenerateEntity
from core.app.workflow.layers.persistence import PersistenceWorkflowInfo, WorkflowPersistenceLayer
from core.repositories.factory import WorkflowExecutionRepository, WorkflowNodeExecutionRepository
from core.workflow.node_factory import get_default_root_node_id
from core.workflow.system_variables import add_node_inputs_to_pool, add_variables_to_pool, build_system_variables
from core.workflow.workflow_entry import WorkflowEntry
from extensions.ext_redis import redis_client
from extensions.otel import WorkflowAppRunnerHandler, trace_span
from libs.datetime_utils import naive_utc_now
from models.workflow import Workflow


class WorkflowAppRunner(WorkflowBasedAppRunner):
    def __init__(
        self,
        *,
        application_generate_entity: WorkflowAppGenerateEntity,
        queue_manager: AppQueueManager,
        variable_loader: Any,
        workflow: Workflow,
        system_user_id: str,
        root_node_id: str | None = None,
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
        self._workflow = workflow
        self._sys_user_id = system_user_id
        self._root_node_id = root_node_id
        self._workflow_execution_repository = workflow_execution_repository
        self._workflow_node_execution_repository = workflow_node_execution_repository
        self._resume_graph_runtime_state = graph_runtime_state
        self._response_stream_filter = response_stream_filter

    @trace_span(WorkflowAppRunnerHandler)
    def run(self) -> None:
        entity = self.application_generate_entity
        app_config = entity.app_config
        user_from = self._resolve_user_from(entity.invoke_from)
        graph_config = self._workflow.graph_dict
        root_node_id = self._root_node_id or get_default_root_node_id(graph_config)
        state = self._resume_graph_runtime_state
        if state is None:
            variable_pool = VariablePool()
            add_variables_to_pool(
                variable_pool,
                build_system_variables(
                    files=list(entity.files),
                    user_id=self._sys_user_id,
                    app_id=app_config.app_id,
                    timestamp=int(naive_utc_now().timestamp()),
                    workflow_id=app_config.workflow_id,
                    workflow_execution_id=entity.workflow_execution_id,
                ),
            )
            add_node_inputs_to_pool(variable_pool, node_id=root_node_id, inputs=entity.inputs)
            state = GraphRuntimeState(variable_pool=variable_pool, start_at=time.perf_counter())
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
        self._queue_manager.graph_runtime_state = state
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
