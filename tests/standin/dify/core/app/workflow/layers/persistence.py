"""Writes runs and node executions to the database as the engine's events arrive."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphon.entities.workflow_execution import WorkflowExecution
from graphon.entities.workflow_node_execution import WorkflowNodeExecution
from graphon.enums import (
    WorkflowExecutionStatus,
    WorkflowNodeExecutionMetadataKey,
    WorkflowNodeExecutionStatus,
    WorkflowType,
)
from graphon.graph_engine.layers import GraphEngineLayer
from graphon.graph_events import (
    GraphEngineEvent,
    GraphRunAbortedEvent,
    GraphRunFailedEvent,
    GraphRunPartialSucceededEvent,
    GraphRunPausedEvent,
    GraphRunStartedEvent,
    GraphRunSucceededEvent,
    NodeRunExceptionEvent,
    NodeRunFailedEvent,
    NodeRunPauseRequestedEvent,
    NodeRunRetryEvent,
    NodeRunStartedEvent,
    NodeRunSucceededEvent,
)
from graphon.node_events import NodeRunResult

from core.app.entities.app_invoke_entities import AdvancedChatAppGenerateEntity, WorkflowAppGenerateEntity
from core.ops.ops_trace_manager import TraceQueueManager, TraceTask, TraceTaskName
from core.repositories.factory import WorkflowExecutionRepository, WorkflowNodeExecutionRepository
from core.workflow.system_variables import get_system_text
from libs.datetime_utils import naive_utc_now


@dataclass(slots=True)
class PersistenceWorkflowInfo:
    workflow_id: str
    workflow_type: WorkflowType
    version: str
    graph_data: Mapping[str, Any]


class WorkflowPersistenceLayer(GraphEngineLayer):
    def __init__(
        self,
        *,
        application_generate_entity: AdvancedChatAppGenerateEntity | WorkflowAppGenerateEntity,
        workflow_info: PersistenceWorkflowInfo,
        workflow_execution_repository: WorkflowExecutionRepository,
        workflow_node_execution_repository: WorkflowNodeExecutionRepository,
        trace_manager: TraceQueueManager | None = None,
    ) -> None:
        super().__init__()
        self._application_generate_entity = application_generate_entity
        self._workflow_info = workflow_info
        self._workflow_execution_repository = workflow_execution_repository
        self._workflow_node_execution_repository = workflow_node_execution_repository
        self._trace_manager = trace_manager
        self._workflow_execution: WorkflowExecution | None = None
        self._node_execution_cache: dict[str, WorkflowNodeExecution] = {}
        self._node_sequence = 0

    def on_graph_start(self) -> None:
        self._workflow_execution = None
        self._node_execution_cache.clear()
        self._node_sequence = 0

    def on_event(self, event: GraphEngineEvent) -> None:
        match event:
            case GraphRunStartedEvent():
                self._handle_graph_run_started()
            case GraphRunSucceededEvent():
                self._finish(WorkflowExecutionStatus.SUCCEEDED, outputs=event.outputs)
            case GraphRunPartialSucceededEvent():
                self._finish(
                    WorkflowExecutionStatus.PARTIAL_SUCCEEDED,
                    outputs=event.outputs,
                    exceptions_count=event.exceptions_count,
                )
            case GraphRunFailedEvent():
                self._finish(WorkflowExecutionStatus.FAILED, error=event.error, exceptions_count=event.exceptions_count)
            case GraphRunAbortedEvent():
                self._finish(WorkflowExecutionStatus.STOPPED, error=event.reason or "Workflow execution aborted")
            case GraphRunPausedEvent():
                self._finish(WorkflowExecutionStatus.PAUSED, outputs=event.outputs)
            case NodeRunRetryEvent():
                self._update(event.id, event.node_run_result, WorkflowNodeExecutionStatus.RETRY, event.error)
            case NodeRunStartedEvent():
                self._handle_node_started(event)
            case NodeRunSucceededEvent():
                self._update(event.id, event.node_run_result, WorkflowNodeExecutionStatus.SUCCEEDED, None)
            case NodeRunFailedEvent():
                self._update(event.id, event.node_run_result, WorkflowNodeExecutionStatus.FAILED, event.error)
            case NodeRunExceptionEvent():
                self._update(event.id, event.node_run_result, WorkflowNodeExecutionStatus.EXCEPTION, event.error)
            case NodeRunPauseRequestedEvent():
                self._update(event.id, event.node_run_result, WorkflowNodeExecutionStatus.PAUSED, None)

    def on_graph_end(self, error: Exception | None) -> None:
        pass

    def _handle_graph_run_started(self) -> None:
        run_id = get_system_text(self.graph_runtime_state.variable_pool, "workflow_run_id")
        if not run_id:
            raise ValueError("workflow_execution_id must be provided in system variables")
        execution = WorkflowExecution.new(
            id_=run_id,
            workflow_id=self._workflow_info.workflow_id,
            workflow_type=self._workflow_info.workflow_type,
            workflow_version=self._workflow_info.version,
            graph=self._workflow_info.graph_data,
            inputs=self._prepare_workflow_inputs(),
            started_at=naive_utc_now(),
        )
        self._workflow_execution_repository.save(execution)
        self._workflow_execution = execution

    def _prepare_workflow_inputs(self) -> Mapping[str, Any]:
        system = self.graph_runtime_state.variable_pool.get_by_prefix("sys")
        return {**self._application_generate_entity.inputs, **{f"sys.{name}": value for name, value in system.items()}}

    def _finish(
        self,
        status: WorkflowExecutionStatus,
        *,
        outputs: Mapping[str, Any] | None = None,
        error: str = "",
        exceptions_count: int = 0,
    ) -> None:
        execution = self._workflow_execution
        if execution is None:
            raise ValueError("workflow execution not initialized")
        execution.status = status
        execution.outputs = outputs
        execution.error_message = error
        execution.exceptions_count = exceptions_count
        execution.total_tokens = self.graph_runtime_state.total_tokens
        execution.total_steps = self.graph_runtime_state.node_run_steps
        if status != WorkflowExecutionStatus.PAUSED:
            execution.finished_at = naive_utc_now()
        self._workflow_execution_repository.save(execution)
        if self._trace_manager and status != WorkflowExecutionStatus.PAUSED:
            self._trace_manager.add_trace_task(
                TraceTask(
                    TraceTaskName.WORKFLOW_TRACE,
                    workflow_execution=execution,
                    conversation_id=get_system_text(self.graph_runtime_state.variable_pool, "conversation_id"),
                    user_id=self._trace_manager.user_id,
                )
            )

    def _handle_node_started(self, event: NodeRunStartedEvent) -> None:
        execution = self._workflow_execution
        assert execution is not None
        self._node_sequence += 1
        node_execution = WorkflowNodeExecution(
            id=event.id,
            node_execution_id=event.id,
            workflow_id=execution.workflow_id,
            workflow_execution_id=execution.id_,
            predecessor_node_id=event.predecessor_node_id,
            index=self._node_sequence,
            node_id=event.node_id,
            node_type=event.node_type,
            title=event.node_title,
            status=WorkflowNodeExecutionStatus.RUNNING,
            metadata={
                WorkflowNodeExecutionMetadataKey.ITERATION_ID: event.in_iteration_id,
                WorkflowNodeExecutionMetadataKey.LOOP_ID: event.in_loop_id,
            },
            created_at=event.start_at,
        )
        self._node_execution_cache[event.id] = node_execution
        self._workflow_node_execution_repository.save(node_execution)

    def _update(
        self,
        execution_id: str,
        result: NodeRunResult,
        status: WorkflowNodeExecutionStatus,
        error: str | None,
    ) -> None:
        node_execution = self._node_execution_cache.get(execution_id)
        if node_execution is None:
            return
        node_execution.status = status
        node_execution.error = error
        node_execution.finished_at = naive_utc_now()
        node_execution.elapsed_time = (node_execution.finished_at - node_execution.created_at).total_seconds()
        node_execution.inputs = dict(result.inputs)
        node_execution.process_data = dict(result.process_data)
        node_execution.outputs = dict(result.outputs)
        node_execution.metadata = dict(result.metadata)
        self._workflow_node_execution_repository.save(node_execution)
        self._workflow_node_execution_repository.save_execution_data(node_execution)
