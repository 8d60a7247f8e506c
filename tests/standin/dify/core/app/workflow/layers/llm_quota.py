"""Checks and books a tenant's quota around every model node: SQL in the node's thread."""

from graphon.enums import BuiltinNodeTypes
from graphon.graph_engine.layers import GraphEngineLayer
from graphon.graph_events import GraphEngineEvent, GraphNodeEventBase, NodeRunSucceededEvent
from graphon.nodes.base.node import Node
from sqlalchemy import select

from core.db.session_factory import session_factory
from models.provider import Provider

_MODEL_NODES = {BuiltinNodeTypes.LLM, BuiltinNodeTypes.QUESTION_CLASSIFIER, BuiltinNodeTypes.PARAMETER_EXTRACTOR}


class LLMQuotaLayer(GraphEngineLayer):
    tenant_id: str

    def __init__(self, tenant_id: str) -> None:
        super().__init__()
        self.tenant_id = tenant_id

    def on_graph_start(self) -> None:
        pass

    def on_event(self, event: GraphEngineEvent) -> None:
        pass

    def on_graph_end(self, error: Exception | None) -> None:
        pass

    def on_node_run_start(self, node: Node) -> None:
        if node.node_type in _MODEL_NODES:
            with session_factory.create_session() as session:
                session.scalar(select(Provider).where(Provider.tenant_id == self.tenant_id))

    def on_node_run_end(
        self, node: Node, error: Exception | None, result_event: GraphNodeEventBase | None = None
    ) -> None:
        if error is None and isinstance(result_event, NodeRunSucceededEvent) and node.node_type in _MODEL_NODES:
            with session_factory.create_session() as session:
                session.scalar(select(Provider).where(Provider.tenant_id == self.tenant_id))
