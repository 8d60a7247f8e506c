from types import SimpleNamespace

from dify_graph.graph_engine.graph_engine import GraphEngine
from dify_graph.nodes.iteration.iteration_node import IterationNode
from dify_graph.nodes.loop.loop_node import LoopNode
from dify_graph.nodes.simple import CodeNode, EndNode, KnowledgeRetrievalNode, LLMNode, StartNode, ToolNode
from dify_graph.runtime.graph_runtime_state import GraphRuntimeState

KINDS = {
    "start": StartNode,
    "llm": LLMNode,
    "tool": ToolNode,
    "knowledge-retrieval": KnowledgeRetrievalNode,
    "code": CodeNode,
    "end": EndNode,
    "iteration": IterationNode,
    "loop": LoopNode,
}


def make_node(kind: str, params, state, **data):
    cls = KINDS[kind]
    config = {"id": data.pop("id", kind), "data": {"type": kind, "title": kind.title(), **data}}
    if "child" in config["data"]:
        child = config["data"]["child"]
        config["data"]["child"] = lambda index: make_node(child, params, state, id=f"{child}-{index}")
    return cls(config["id"], config, params, state)


class WorkflowEntry:
    """Runs a graph of groups: `[["start"], ["llm", "tool"], ["end"]]`; an entry may be a pair of kind and data."""

    def __init__(self, workflow, user_id, invoke_from, call_depth=0):
        params = SimpleNamespace(
            tenant_id=workflow.tenant_id,
            app_id=workflow.app_id,
            workflow_type=workflow.type,
            workflow_id=workflow.id,
            graph_config=workflow.graph_dict,
            user_id=user_id,
            user_from="end-user",
            invoke_from=invoke_from,
            call_depth=call_depth,
        )
        state = GraphRuntimeState()
        groups = [
            [
                make_node(item, params, state)
                if isinstance(item, str)
                else make_node(item[0], params, state, **item[1])
                for item in group
            ]
            for group in workflow.graph_dict["groups"]
        ]
        self.graph_engine = GraphEngine(groups, state)

    def run(self):
        yield from self.graph_engine.run()

    @classmethod
    def single_step_run(cls, *, workflow, node_id, user_id, user_inputs):
        entry = cls(workflow, user_id, "debugger")
        node = next(
            node
            for group in entry.graph_engine.nodes
            for node in group
            if node_id in (node.id, getattr(node, "node_id", ""))
        )
        return node, cls._traced_node_run(node)

    @staticmethod
    def _traced_node_run(node):
        return node.run()
