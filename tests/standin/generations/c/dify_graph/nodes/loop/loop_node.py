from dify_graph.enums import WorkflowNodeExecutionStatus
from dify_graph.graph_engine.graph_engine import GraphEngine
from dify_graph.node_events.base import NodeRunResult
from dify_graph.nodes.base.node import Node
from dify_graph.runtime.graph_runtime_state import GraphRuntimeState


class LoopNode(Node):
    node_type = "loop"

    def _run(self):
        for index in range(2):
            for _ in self._create_graph_engine(index, "loopstart").run():
                pass
        yield NodeRunResult(status=WorkflowNodeExecutionStatus.SUCCEEDED, outputs={"output": [0, 1]})

    def _create_graph_engine(self, start_at, root_node_id):
        # A child engine has nodes of its own, which share its runtime state.
        state = GraphRuntimeState()
        child = self._node_data["child"](start_at)
        child.graph_runtime_state = state
        return GraphEngine([[child]], state)
