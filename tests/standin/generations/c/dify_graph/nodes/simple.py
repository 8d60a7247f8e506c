"""Nodes which call what Dify's nodes call: a model, a tool, a knowledge base, the sandbox."""

from types import SimpleNamespace

from core.helper.code_executor.code_executor import CodeExecutor
from core.model_manager import ModelInstance, bundle
from core.rag.retrieval.dataset_retrieval import DatasetRetrieval
from core.tools.plugin_tool.tool import plugin_tool
from core.tools.tool_engine import ToolEngine
from dify_graph.enums import WorkflowNodeExecutionStatus
from dify_graph.model_runtime.entities.llm_entities import PromptMessage
from dify_graph.node_events.base import NodeRunResult
from dify_graph.nodes.base.node import Node

OK = WorkflowNodeExecutionStatus.SUCCEEDED


class StartNode(Node):
    node_type = "start"

    def _run(self):
        return NodeRunResult(status=OK, inputs={"query": "hello"}, outputs={"query": "hello"})


class LLMNode(Node):
    node_type = "llm"

    def _run(self):
        instance = ModelInstance(bundle(), self._node_data.get("model", "stub-chat"))
        text, usage = "", None
        try:
            for item in instance.invoke_llm(
                prompt_messages=[PromptMessage("user", "hello")],
                model_parameters={"temperature": 0.5},
                stream=True,
            ):
                piece = item.delta.message.content
                text += piece
                usage = item.delta.usage or usage
                yield piece
        except ValueError as exc:
            failed = NodeRunResult(
                status=WorkflowNodeExecutionStatus.FAILED, error=str(exc), error_type=type(exc).__name__
            )
            yield failed
            return
        result = NodeRunResult(
            status=OK,
            inputs={},
            process_data={"model_provider": instance.provider, "model_name": "stub-chat"},
            outputs={"text": text, "finish_reason": "stop"},
            metadata={"total_tokens": 5},
            llm_usage=usage,
        )
        yield result


class ToolNode(Node):
    node_type = "tool"

    def _run(self):
        tool = plugin_tool(self._node_data.get("tool", "weather"))
        messages = list(
            ToolEngine.generic_invoke(
                tool=tool,
                tool_parameters={"city": "Berlin"},
                user_id="user-1",
                workflow_tool_callback=None,
                workflow_call_depth=0,
            )
        )
        return NodeRunResult(status=OK, inputs={"city": "Berlin"}, outputs={"text": messages[0].message.text})


class KnowledgeRetrievalNode(Node):
    node_type = "knowledge-retrieval"

    def _run(self):
        found = DatasetRetrieval().multiple_retrieve(
            "app-1",
            "tenant-1",
            "user-1",
            "end-user",
            [SimpleNamespace(id="dataset-1")],
            "hello",
            3,
            0.0,
            "reranking_model",
        )
        return NodeRunResult(status=OK, outputs={"result": [item.page_content for item in found]})


class CodeNode(Node):
    node_type = "code"

    def _run(self):
        output = CodeExecutor.execute_code("python3", "", "print(1)")
        return NodeRunResult(status=OK, outputs={"result": output})


class EndNode(Node):
    node_type = "end"

    def _run(self):
        return NodeRunResult(status=OK, outputs={"out": "done"})
