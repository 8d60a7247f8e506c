from abc import ABC, abstractmethod
from uuid import uuid4

from core.workflow.enums import WorkflowNodeExecutionStatus
from core.workflow.graph_events import (
    NodeRunFailedEvent,
    NodeRunStartedEvent,
    NodeRunStreamChunkEvent,
    NodeRunSucceededEvent,
)
from core.workflow.node_events.base import NodeRunResult


class Node(ABC):
    node_type: str

    def __init__(self, id, config, graph_init_params, graph_runtime_state):
        self.tenant_id = graph_init_params.tenant_id
        self.app_id = graph_init_params.app_id
        self.workflow_id = graph_init_params.workflow_id
        self.user_id = graph_init_params.user_id
        self.user_from = graph_init_params.user_from
        self.invoke_from = graph_init_params.invoke_from
        self.graph_config = graph_init_params.graph_config
        self.workflow_call_depth = graph_init_params.call_depth
        self.graph_runtime_state = graph_runtime_state
        self.id = id
        self._node_id = config["id"]
        self._node_execution_id = ""
        self._node_data = config["data"]

    @property
    def execution_id(self):
        return self._node_execution_id

    @property
    def title(self):
        return self._node_data["title"]

    @property
    def node_data(self):
        return self._node_data

    def run(self):
        self._node_execution_id = self._node_execution_id or str(uuid4())
        common = {"id": self._node_execution_id, "node_id": self._node_id, "node_type": self.node_type}
        yield NodeRunStartedEvent(**common, node_title=self.title)
        try:
            result = self._run()
            if not isinstance(result, NodeRunResult):
                for item in result:
                    if isinstance(item, str):
                        yield NodeRunStreamChunkEvent(**common, selector=(self._node_id, "text"), chunk=item)
                    else:
                        result = item
        except Exception as exc:
            result = NodeRunResult(
                status=WorkflowNodeExecutionStatus.FAILED, error=str(exc), error_type="WorkflowNodeError"
            )
        if result.status == WorkflowNodeExecutionStatus.FAILED:
            yield NodeRunFailedEvent(**common, node_run_result=result, error=result.error or "")
        else:
            yield NodeRunSucceededEvent(**common, node_run_result=result)

    @abstractmethod
    def _run(self): ...
