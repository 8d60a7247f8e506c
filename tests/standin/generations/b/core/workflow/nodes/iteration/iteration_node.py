from core.workflow.enums import WorkflowNodeExecutionStatus
from core.workflow.graph_engine.graph_engine import GraphEngine
from core.workflow.node_events.base import NodeRunResult
from core.workflow.nodes.base.node import Node
from core.workflow.runtime.graph_runtime_state import GraphRuntimeState


class IterationNode(Node):
    node_type = "iteration"

    def _run(self):
        for index in range(2):
            for _ in self._create_graph_engine(index, index).run():
                pass
        yield NodeRunResult(status=WorkflowNodeExecutionStatus.SUCCEEDED, outputs={"output": [0, 1]})

    def _create_graph_engine(self, index, item):
        # A child engine has nodes of its own, which share its runtime state.
        state = GraphRuntimeState()
        child = self._node_data["child"](index)
        child.graph_runtime_state = state
        return GraphEngine([[child]], state)
