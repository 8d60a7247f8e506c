"""What the workflow runners share: the graph, and one handler for every event of the engine."""

from collections.abc import Mapping, Sequence
from typing import Any

from graphon.graph import Graph
from graphon.graph_engine.layers import GraphEngineLayer
from graphon.graph_events import (
    GraphEngineEvent,
    GraphRunAbortedEvent,
    GraphRunFailedEvent,
    GraphRunPartialSucceededEvent,
    GraphRunPausedEvent,
    GraphRunStartedEvent,
    GraphRunSucceededEvent,
    NodeRunAgentLogEvent,
    NodeRunExceptionEvent,
    NodeRunFailedEvent,
    NodeRunIterationFailedEvent,
    NodeRunIterationNextEvent,
    NodeRunIterationStartedEvent,
    NodeRunIterationSucceededEvent,
    NodeRunLoopFailedEvent,
    NodeRunLoopNextEvent,
    NodeRunLoopStartedEvent,
    NodeRunLoopSucceededEvent,
    NodeRunRetryEvent,
    NodeRunStartedEvent,
    NodeRunStreamChunkEvent,
    NodeRunSucceededEvent,
)
from graphon.runtime import GraphRuntimeState, VariablePool

from core.app.apps.base_app_queue_manager import AppQueueManager, PublishFrom
from core.app.entities import queue_entities as queued
from core.app.entities.app_invoke_entities import InvokeFrom, UserFrom, build_dify_run_context
from core.workflow.node_factory import DifyGraphInitContext, DifyNodeFactory, get_default_root_node_id
from core.workflow.workflow_entry import WorkflowEntry
from models.workflow import Workflow


class WorkflowBasedAppRunner:
    def __init__(
        self,
        *,
        queue_manager: AppQueueManager,
        variable_loader: Any = None,
        app_id: str,
        graph_engine_layers: Sequence[GraphEngineLayer] = (),
    ):
        self._queue_manager = queue_manager
        self._variable_loader = variable_loader
        self._app_id = app_id
        self._graph_engine_layers = graph_engine_layers

    @staticmethod
    def _resolve_user_from(invoke_from: InvokeFrom) -> UserFrom:
        return UserFrom.ACCOUNT if invoke_from.runs_as_account() else UserFrom.END_USER

    def _init_graph(
        self,
        graph_config: Mapping[str, Any],
        graph_runtime_state: GraphRuntimeState,
        user_from: UserFrom,
        invoke_from: InvokeFrom,
        workflow_id: str = "",
        tenant_id: str = "",
        user_id: str = "",
        root_node_id: str | None = None,
        trace_session_id: str | None = None,
    ) -> Graph:
        context = DifyGraphInitContext(
            workflow_id=workflow_id,
            graph_config=graph_config,
            run_context=build_dify_run_context(
                tenant_id=tenant_id,
                app_id=self._app_id,
                user_id=user_id,
                user_from=user_from,
                invoke_from=invoke_from,
                trace_session_id=trace_session_id,
            ),
            call_depth=0,
        )
        factory = DifyNodeFactory.from_graph_init_context(
            graph_init_context=context, graph_runtime_state=graph_runtime_state
        )
        return Graph.init(
            graph_config=graph_config,
            node_factory=factory,
            root_node_id=root_node_id or get_default_root_node_id(graph_config),
        )

    def _prepare_single_node_execution(
        self,
        workflow: Workflow,
        single_iteration_run: Any | None = None,
        single_loop_run: Any | None = None,
        *,
        user_id: str,
        trace_session_id: str | None = None,
    ) -> tuple[Graph, VariablePool, GraphRuntimeState]:
        raise NotImplementedError("the stand-in runs single nodes, not single iterations")

    def _handle_event(self, workflow_entry: WorkflowEntry, event: GraphEngineEvent) -> None:
        state = workflow_entry.graph_engine.graph_runtime_state
        match event:
            case GraphRunStartedEvent():
                self._publish_event(queued.QueueWorkflowStartedEvent(reason=event.reason))
            case GraphRunSucceededEvent():
                self._publish_event(queued.QueueWorkflowSucceededEvent(outputs=event.outputs))
            case GraphRunPartialSucceededEvent():
                self._publish_event(
                    queued.QueueWorkflowPartialSuccessEvent(
                        outputs=event.outputs, exceptions_count=event.exceptions_count
                    )
                )
            case GraphRunFailedEvent():
                self._publish_event(
                    queued.QueueWorkflowFailedEvent(error=event.error, exceptions_count=event.exceptions_count)
                )
            case GraphRunAbortedEvent():
                self._publish_event(
                    queued.QueueStopEvent(
                        stopped_by=queued.QueueStopEvent.StopBy.USER_MANUAL,
                        reason=event.reason or "Workflow execution aborted",
                    )
                )
            case GraphRunPausedEvent():
                self._publish_event(
                    queued.QueueWorkflowPausedEvent(
                        reasons=event.reasons, outputs=event.outputs, paused_nodes=state.get_paused_nodes()
                    )
                )
            case NodeRunRetryEvent():
                self._publish_event(
                    queued.QueueNodeRetryEvent(
                        **self._node_started(event),
                        inputs=event.node_run_result.inputs,
                        process_data=event.node_run_result.process_data,
                        outputs=event.node_run_result.outputs,
                        execution_metadata=event.node_run_result.metadata,
                        error=event.error,
                        retry_index=event.retry_index,
                    )
                )
            case NodeRunStartedEvent():
                self._publish_event(queued.QueueNodeStartedEvent(**self._node_started(event)))
            case NodeRunSucceededEvent():
                self._publish_event(queued.QueueNodeSucceededEvent(**self._node_result(event)))
            case NodeRunFailedEvent():
                self._publish_event(
                    queued.QueueNodeFailedEvent(**self._node_result(event), error=event.node_run_result.error)
                )
            case NodeRunExceptionEvent():
                self._publish_event(
                    queued.QueueNodeExceptionEvent(**self._node_result(event), error=event.node_run_result.error)
                )
            case NodeRunStreamChunkEvent():
                self._publish_event(
                    queued.QueueTextChunkEvent(
                        text=event.chunk,
                        from_variable_selector=list(event.selector),
                        in_iteration_id=event.in_iteration_id,
                        in_loop_id=event.in_loop_id,
                    )
                )
            case NodeRunAgentLogEvent():
                self._publish_event(
                    queued.QueueAgentLogEvent(
                        id=event.message_id,
                        label=event.label,
                        node_execution_id=event.node_execution_id,
                        parent_id=event.parent_id,
                        error=event.error,
                        status=event.status,
                        data=event.data,
                        metadata=event.metadata,
                        node_id=event.node_id,
                    )
                )
            case NodeRunIterationStartedEvent():
                self._publish_event(queued.QueueIterationStartEvent(**self._container(event, state)))
            case NodeRunIterationNextEvent():
                self._publish_event(queued.QueueIterationNextEvent(**self._container(event, state)))
            case NodeRunIterationSucceededEvent() | NodeRunIterationFailedEvent():
                self._publish_event(queued.QueueIterationCompletedEvent(**self._container(event, state)))
            case NodeRunLoopStartedEvent():
                self._publish_event(queued.QueueLoopStartEvent(**self._container(event, state)))
            case NodeRunLoopNextEvent():
                self._publish_event(queued.QueueLoopNextEvent(**self._container(event, state)))
            case NodeRunLoopSucceededEvent() | NodeRunLoopFailedEvent():
                self._publish_event(queued.QueueLoopCompletedEvent(**self._container(event, state)))

    @staticmethod
    def _node_started(event: NodeRunStartedEvent) -> dict[str, Any]:
        return {
            "node_execution_id": event.id,
            "node_id": event.node_id,
            "node_title": event.node_title,
            "node_type": event.node_type,
            "start_at": event.start_at,
            "in_iteration_id": event.in_iteration_id,
            "in_loop_id": event.in_loop_id,
            "provider_type": event.provider_type,
            "provider_id": event.provider_id,
        }

    @staticmethod
    def _node_result(event: Any) -> dict[str, Any]:
        result = event.node_run_result
        return {
            "node_execution_id": event.id,
            "node_id": event.node_id,
            "node_type": event.node_type,
            "start_at": event.start_at,
            "finished_at": event.finished_at,
            "inputs": result.inputs,
            "process_data": result.process_data,
            "outputs": result.outputs,
            "execution_metadata": result.metadata,
            "in_iteration_id": event.in_iteration_id,
            "in_loop_id": event.in_loop_id,
        }

    @staticmethod
    def _container(event: Any, state: Any) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "node_execution_id": event.id,
            "node_id": event.node_id,
            "node_type": event.node_type,
            "node_title": event.node_title,
            "node_run_index": state.node_run_steps,
        }
        for name in ("start_at", "index", "inputs", "outputs", "metadata", "steps", "error"):
            if hasattr(event, name):
                fields[name] = getattr(event, name)
        return fields

    def _publish_event(self, event: queued.AppQueueEvent) -> None:
        self._queue_manager.publish(event, PublishFrom.APPLICATION_MANAGER)
