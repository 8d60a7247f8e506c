from core.workflow.entities.node_entities import NodeRunResult
from core.workflow.entities.workflow_node_execution import WorkflowNodeExecutionStatus
from core.workflow.graph_engine.graph_engine import GraphEngine
from core.workflow.nodes.base.node import BaseNode
from core.workflow.nodes.event.event import RunCompletedEvent


class LoopNode(BaseNode):
    _node_type = "loop"

    def _run(self):
        for index in range(2):
            engine = GraphEngine([[self._node_data["child"](index)]], self.graph_runtime_state)
            for _ in engine.run():
                pass
        yield RunCompletedEvent(NodeRunResult(status=WorkflowNodeExecutionStatus.SUCCEEDED, outputs={"output": [0, 1]}))
