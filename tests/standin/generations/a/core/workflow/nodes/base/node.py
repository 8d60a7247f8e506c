from abc import ABC, abstractmethod
from uuid import uuid4

from core.workflow.entities.node_entities import NodeRunResult
from core.workflow.entities.workflow_node_execution import WorkflowNodeExecutionStatus
from core.workflow.nodes.event.event import RunCompletedEvent


class BaseNode(ABC):
    _node_type: str

    def __init__(
        self, id, config, graph_init_params, graph, graph_runtime_state, previous_node_id=None, thread_pool_id=None
    ):
        self.id = id or str(uuid4())
        self.tenant_id = graph_init_params.tenant_id
        self.app_id = graph_init_params.app_id
        self.workflow_type = graph_init_params.workflow_type
        self.workflow_id = graph_init_params.workflow_id
        self.graph_config = graph_init_params.graph_config
        self.user_id = graph_init_params.user_id
        self.user_from = graph_init_params.user_from
        self.invoke_from = graph_init_params.invoke_from
        self.workflow_call_depth = graph_init_params.call_depth
        self.graph = graph
        self.graph_runtime_state = graph_runtime_state
        self.previous_node_id = previous_node_id
        self.thread_pool_id = thread_pool_id
        self.node_id = config["id"]
        self._node_data = config["data"]

    @property
    def node_type(self):
        return self._node_type

    @property
    def title(self):
        return self._node_data["title"]

    def get_base_node_data(self):
        return self._node_data

    def run(self):
        try:
            result = self._run()
        except Exception as exc:
            result = NodeRunResult(
                status=WorkflowNodeExecutionStatus.FAILED, error=str(exc), error_type="WorkflowNodeError"
            )
        if isinstance(result, NodeRunResult):
            yield RunCompletedEvent(run_result=result)
        else:
            yield from result

    @abstractmethod
    def _run(self): ...
