from abc import ABC, abstractmethod
from uuid import uuid4

from dify_graph.enums import WorkflowNodeExecutionStatus
from dify_graph.graph_events import (
    NodeRunFailedEvent,
    NodeRunStartedEvent,
    NodeRunStreamChunkEvent,
    NodeRunSucceededEvent,
)
from dify_graph.node_events.base import NodeRunResult


class Node(ABC):
    node_type: str

    def __init__(self, id, config, graph_init_params, graph_runtime_state):
        self._graph_init_params = graph_init_params
        self.run_context = {"_dify": graph_init_params}
        self.workflow_id = graph_init_params.workflow_id
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
