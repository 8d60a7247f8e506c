"""The agent node: a strategy in a plugin reasons, and its log messages become events of the node."""

from collections.abc import Generator, Mapping, Sequence
from typing import Any

from graphon.entities.base_node_data import BaseNodeData
from graphon.enums import BuiltinNodeTypes, NodeType, WorkflowNodeExecutionMetadataKey, WorkflowNodeExecutionStatus
from graphon.model_runtime.entities.llm_entities import LLMUsage
from graphon.node_events import AgentLogEvent, NodeEventBase, NodeRunResult, StreamChunkEvent, StreamCompletedEvent
from graphon.nodes.base.node import Node

from core.agent.entities import AgentInvokeMessage
from core.agent.strategy.plugin import PluginAgentStrategy
from core.app.entities.app_invoke_entities import DIFY_RUN_CONTEXT_KEY
from core.workflow.system_variables import get_system_text


class AgentNodeData(BaseNodeData):
    type: NodeType = BuiltinNodeTypes.AGENT
    agent_strategy_provider_name: str
    agent_strategy_name: str
    agent_strategy_label: str
    agent_parameters: dict[str, Any]


class AgentNode(Node[AgentNodeData]):
    node_type = BuiltinNodeTypes.AGENT

    @classmethod
    def version(cls) -> str:
        return "1"

    def _run(self) -> Generator[NodeEventBase, None, None]:
        context = self.require_run_context_value(DIFY_RUN_CONTEXT_KEY)
        pool = self.graph_runtime_state.variable_pool
        parameters = {
            name: pool.convert_template(item["value"]).text if isinstance(item["value"], str) else item["value"]
            for name, item in self.node_data.agent_parameters.items()
        }
        strategy = PluginAgentStrategy(
            context.tenant_id, self.node_data.agent_strategy_provider_name, self.node_data.agent_strategy_name
        )
        text, usage = "", LLMUsage.empty_usage()
        try:
            for message in strategy.invoke(
                params=parameters,
                user_id=context.user_id,
                app_id=context.app_id,
                conversation_id=get_system_text(pool, "conversation_id"),
            ):
                payload = message.message
                if isinstance(payload, AgentInvokeMessage.TextMessage):
                    text += payload.text
                    yield StreamChunkEvent(selector=[self.id, "text"], chunk=payload.text, is_final=False)
                elif isinstance(payload, AgentInvokeMessage.LogMessage):
                    yield AgentLogEvent(
                        message_id=payload.id,
                        label=payload.label,
                        node_execution_id=self.execution_id,
                        parent_id=payload.parent_id,
                        error=payload.error,
                        status=payload.status.value,
                        data=payload.data,
                        metadata=payload.metadata,
                        node_id=self.id,
                    )
                elif isinstance(payload, AgentInvokeMessage.JsonMessage) and isinstance(payload.json_object, dict):
                    usage = LLMUsage.from_metadata(payload.json_object.get("execution_metadata", {}))
        except Exception as exc:
            error = str(getattr(exc, "description", None) or exc)
            yield StreamCompletedEvent(
                node_run_result=NodeRunResult(
                    status=WorkflowNodeExecutionStatus.FAILED, error=error, error_type=type(exc).__name__
                )
            )
            return
        yield StreamCompletedEvent(
            node_run_result=NodeRunResult(
                status=WorkflowNodeExecutionStatus.SUCCEEDED,
                inputs={"query": str(parameters.get("query", ""))},
                outputs={"text": text, "usage": usage.model_dump(mode="json"), "json": []},
                metadata={
                    WorkflowNodeExecutionMetadataKey.TOTAL_TOKENS: usage.total_tokens,
                    WorkflowNodeExecutionMetadataKey.TOTAL_PRICE: usage.total_price,
                    WorkflowNodeExecutionMetadataKey.CURRENCY: usage.currency,
                },
                llm_usage=usage,
            )
        )

    @classmethod
    def _extract_variable_selector_to_variable_mapping(
        cls, *, graph_config: Mapping[str, Any], node_id: str, node_data: AgentNodeData
    ) -> Mapping[str, Sequence[str]]:
        return {}
