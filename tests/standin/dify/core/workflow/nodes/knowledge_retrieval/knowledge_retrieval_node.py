"""The knowledge node: Dify's own subclass of graphon's `Node`."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from graphon.entities.base_node_data import BaseNodeData
from graphon.entities.graph_init_params import GraphInitParams
from graphon.enums import BuiltinNodeTypes, NodeType, WorkflowNodeExecutionMetadataKey, WorkflowNodeExecutionStatus
from graphon.model_runtime.entities.llm_entities import LLMUsage
from graphon.node_events import NodeRunResult
from graphon.nodes.base.node import Node
from graphon.runtime import GraphRuntimeState
from sqlalchemy.orm import Session

from core.app.entities.app_invoke_entities import DIFY_RUN_CONTEXT_KEY
from core.db.session_factory import session_factory
from core.rag.retrieval.dataset_retrieval import DatasetRetrieval
from core.workflow.nodes.knowledge_retrieval.retrieval import KnowledgeRetrievalRequest, Source


class KnowledgeRetrievalNodeData(BaseNodeData):
    type: NodeType = BuiltinNodeTypes.KNOWLEDGE_RETRIEVAL
    query_variable_selector: list[str]
    dataset_ids: list[str]
    retrieval_mode: Literal["single", "multiple"]
    multiple_retrieval_config: dict[str, Any] | None = None
    single_retrieval_config: dict[str, Any] | None = None


class KnowledgeRetrievalNode(Node[KnowledgeRetrievalNodeData]):
    node_type = BuiltinNodeTypes.KNOWLEDGE_RETRIEVAL

    def __init__(
        self,
        node_id: str,
        data: KnowledgeRetrievalNodeData,
        *,
        graph_init_params: GraphInitParams,
        graph_runtime_state: GraphRuntimeState,
        session_maker: Any = None,
    ) -> None:
        super().__init__(
            node_id=node_id,
            data=data,
            graph_init_params=graph_init_params,
            graph_runtime_state=graph_runtime_state,
        )
        self._rag_retrieval = DatasetRetrieval()
        self._session_maker = session_maker or session_factory.get_session_maker()

    @classmethod
    def version(cls) -> str:
        return "1"

    def _run(self) -> NodeRunResult:
        segment = self.graph_runtime_state.variable_pool.get(self.node_data.query_variable_selector)
        variables = {"query": segment.text if segment is not None else ""}
        try:
            with self._session_maker() as session:
                results, usage = self._fetch_dataset_retriever(session, self.node_data, variables)
        except Exception as exc:
            return NodeRunResult(
                status=WorkflowNodeExecutionStatus.FAILED,
                inputs=variables,
                error=str(exc),
                error_type=type(exc).__name__,
            )
        return NodeRunResult(
            status=WorkflowNodeExecutionStatus.SUCCEEDED,
            inputs=variables,
            process_data={"usage": usage.model_dump(mode="json")},
            outputs={"result": [source.model_dump(by_alias=True) for source in results]},
            metadata={WorkflowNodeExecutionMetadataKey.TOTAL_TOKENS: usage.total_tokens},
            llm_usage=usage,
        )

    def _fetch_dataset_retriever(
        self, session: Session, node_data: KnowledgeRetrievalNodeData, variables: dict[str, Any]
    ) -> tuple[list[Source], LLMUsage]:
        context = self.require_run_context_value(DIFY_RUN_CONTEXT_KEY)
        multiple = node_data.multiple_retrieval_config or {}
        single = (node_data.single_retrieval_config or {}).get("model", {})
        reranking = multiple.get("reranking_model") or {}
        sources = self._rag_retrieval.knowledge_retrieval(
            session,
            KnowledgeRetrievalRequest(
                tenant_id=context.tenant_id,
                user_id=context.user_id,
                app_id=context.app_id,
                user_from=context.user_from.value,
                dataset_ids=node_data.dataset_ids,
                query=variables["query"],
                retrieval_mode=node_data.retrieval_mode,
                model_provider=single.get("provider"),
                model_name=single.get("name"),
                top_k=multiple.get("top_k", 3),
                score_threshold=multiple.get("score_threshold") or 0.0,
                reranking_mode=multiple.get("reranking_mode", "reranking_model"),
                reranking_model={
                    "reranking_provider_name": reranking.get("provider", ""),
                    "reranking_model_name": reranking.get("model", ""),
                }
                if reranking
                else None,
                reranking_enable=multiple.get("reranking_enable", True),
            ),
        )
        return sources, self._rag_retrieval.llm_usage

    @classmethod
    def _extract_variable_selector_to_variable_mapping(
        cls, *, graph_config: Mapping[str, Any], node_id: str, node_data: KnowledgeRetrievalNodeData
    ) -> Mapping[str, Sequence[str]]:
        return {node_id + ".query": node_data.query_variable_selector}
