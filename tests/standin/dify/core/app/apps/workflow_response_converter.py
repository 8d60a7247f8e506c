"""Turns the queue's workflow events into what the client sees; shared by workflow and chatflow."""

import time
from typing import Any

from graphon.enums import WorkflowExecutionStatus, WorkflowNodeExecutionStatus
from graphon.runtime import GraphRuntimeState
from graphon.workflow_type_encoder import WorkflowRuntimeTypeConverter

from core.app.entities import queue_entities as queued
from core.app.entities.task_entities import StreamEvent, WorkflowStreamResponse
from libs.datetime_utils import naive_utc_now

_NODE_RESULTS: dict[type[Any], WorkflowNodeExecutionStatus] = {
    queued.QueueNodeSucceededEvent: WorkflowNodeExecutionStatus.SUCCEEDED,
    queued.QueueNodeFailedEvent: WorkflowNodeExecutionStatus.FAILED,
    queued.QueueNodeExceptionEvent: WorkflowNodeExecutionStatus.EXCEPTION,
}
_CONTAINERS: dict[type[Any], StreamEvent] = {
    queued.QueueIterationStartEvent: StreamEvent.ITERATION_STARTED,
    queued.QueueIterationNextEvent: StreamEvent.ITERATION_NEXT,
    queued.QueueIterationCompletedEvent: StreamEvent.ITERATION_COMPLETED,
    queued.QueueLoopStartEvent: StreamEvent.LOOP_STARTED,
    queued.QueueLoopNextEvent: StreamEvent.LOOP_NEXT,
    queued.QueueLoopCompletedEvent: StreamEvent.LOOP_COMPLETED,
}
_FINISHED: dict[type[Any], WorkflowExecutionStatus] = {
    queued.QueueWorkflowSucceededEvent: WorkflowExecutionStatus.SUCCEEDED,
    queued.QueueWorkflowPartialSuccessEvent: WorkflowExecutionStatus.PARTIAL_SUCCEEDED,
    queued.QueueWorkflowFailedEvent: WorkflowExecutionStatus.FAILED,
    queued.QueueStopEvent: WorkflowExecutionStatus.STOPPED,
}


def _plain(value: Any) -> Any:
    return WorkflowRuntimeTypeConverter().to_json_encodable(dict(value)) if value is not None else None


class WorkflowResponseConverter:
    def __init__(self, *, application_generate_entity: Any, user: Any, workflow_id: str, workflow_run_id: str) -> None:
        self._task_id = application_generate_entity.task_id
        self._inputs = application_generate_entity.inputs
        self._user_id = user.id
        self._workflow_id = workflow_id
        self.workflow_run_id = workflow_run_id
        self._started = time.perf_counter()
        self._created_at = int(naive_utc_now().timestamp())
        self._nodes: dict[str, tuple[str, int]] = {}

    def _response(self, event: StreamEvent, data: dict[str, Any]) -> WorkflowStreamResponse:
        return WorkflowStreamResponse(
            event=event, task_id=self._task_id, workflow_run_id=self.workflow_run_id, data=data
        )

    def convert(self, event: Any, state: GraphRuntimeState | None) -> WorkflowStreamResponse | None:
        """The response for a workflow event; None for an event which is not one."""
        kind = type(event)
        if kind is queued.QueueWorkflowStartedEvent:
            data = {
                "id": self.workflow_run_id,
                "workflow_id": self._workflow_id,
                "inputs": _plain(self._inputs),
                "created_at": self._created_at,
                "reason": str(event.reason),
            }
            return self._response(StreamEvent.WORKFLOW_STARTED, data)
        if kind is queued.QueueNodeStartedEvent:
            self._nodes[event.node_execution_id] = (event.node_title, len(self._nodes) + 1)
            data = {
                "id": event.node_execution_id,
                "node_id": event.node_id,
                "node_type": str(event.node_type),
                "title": event.node_title,
                "index": len(self._nodes),
                "created_at": int(event.start_at.timestamp()),
                "iteration_id": event.in_iteration_id,
                "loop_id": event.in_loop_id,
            }
            return self._response(StreamEvent.NODE_STARTED, data)
        if kind in _NODE_RESULTS or kind is queued.QueueNodeRetryEvent:
            title, index = self._nodes.get(event.node_execution_id, ("", 0))
            status = _NODE_RESULTS.get(kind, WorkflowNodeExecutionStatus.RETRY)
            data = {
                "id": event.node_execution_id,
                "node_id": event.node_id,
                "node_type": str(event.node_type),
                "title": title,
                "index": index,
                "inputs": _plain(event.inputs),
                "process_data": _plain(event.process_data),
                "outputs": _plain(event.outputs),
                "status": status.value,
                "error": event.error,
                "elapsed_time": (naive_utc_now() - event.start_at).total_seconds(),
                "execution_metadata": _plain(
                    {str(name): value for name, value in (event.execution_metadata or {}).items()}
                ),
                "iteration_id": event.in_iteration_id,
                "loop_id": event.in_loop_id,
            }
            if kind is queued.QueueNodeRetryEvent:
                return self._response(StreamEvent.NODE_RETRY, {**data, "retry_index": event.retry_index})
            return self._response(StreamEvent.NODE_FINISHED, data)
        if kind in _CONTAINERS:
            data = {
                "id": event.node_id,
                "node_id": event.node_id,
                "node_type": str(event.node_type),
                "title": event.node_title,
                "index": event.index,
                "inputs": _plain(event.inputs),
                "outputs": _plain(event.outputs),
                "steps": event.steps,
                "error": event.error,
            }
            return self._response(_CONTAINERS[kind], data)
        if kind in _FINISHED:
            error = getattr(event, "error", None)
            if kind is queued.QueueStopEvent:
                error = event.get_stop_reason()
            return self._response(StreamEvent.WORKFLOW_FINISHED, self._finished(event, _FINISHED[kind], error, state))
        if kind is queued.QueueWorkflowPausedEvent:
            data = self._finished(event, WorkflowExecutionStatus.PAUSED, None, state)
            data["paused_nodes"] = list(event.paused_nodes)
            data["reasons"] = [reason.model_dump(mode="json") for reason in event.reasons]
            return self._response(StreamEvent.WORKFLOW_PAUSED, data)
        if kind is queued.QueueAgentLogEvent:
            data = event.model_dump(mode="json", exclude={"event"})
            return self._response(StreamEvent.AGENT_LOG, data)
        return None

    def _finished(
        self, event: Any, status: WorkflowExecutionStatus, error: str | None, state: GraphRuntimeState | None
    ) -> dict[str, Any]:
        return {
            "id": self.workflow_run_id,
            "workflow_id": self._workflow_id,
            "status": status.value,
            "outputs": _plain(getattr(event, "outputs", None)),
            "error": error,
            "elapsed_time": time.perf_counter() - self._started,
            "total_tokens": state.total_tokens if state else 0,
            "total_steps": state.node_run_steps if state else 0,
            "created_by": {"id": self._user_id},
            "created_at": self._created_at,
            "finished_at": int(naive_utc_now().timestamp()),
            "exceptions_count": getattr(event, "exceptions_count", 0),
        }
