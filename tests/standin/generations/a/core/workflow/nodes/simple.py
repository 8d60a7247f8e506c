"""Nodes which call what Dify's nodes call: a model, a tool, a knowledge base, the sandbox."""

from types import SimpleNamespace

from core.helper.code_executor.code_executor import CodeExecutor
from core.model_manager import ModelInstance, bundle
from core.model_runtime.entities.llm_entities import PromptMessage
from core.rag.retrieval.dataset_retrieval import DatasetRetrieval
from core.tools.plugin_tool.tool import plugin_tool
from core.tools.tool_engine import ToolEngine
from core.workflow.entities.node_entities import NodeRunResult
from core.workflow.entities.workflow_node_execution import WorkflowNodeExecutionStatus
from core.workflow.nodes.base.node import BaseNode
from core.workflow.nodes.event.event import RunCompletedEvent, RunStreamChunkEvent

OK = WorkflowNodeExecutionStatus.SUCCEEDED


class StartNode(BaseNode):
    _node_type = "start"

    def _run(self):
        return NodeRunResult(status=OK, inputs={"query": "hello"}, outputs={"query": "hello"})


class LLMNode(BaseNode):
    _node_type = "llm"

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
                yield RunStreamChunkEvent(piece, [self.node_id, "text"])
        except ValueError as exc:
            failed = NodeRunResult(
                status=WorkflowNodeExecutionStatus.FAILED, error=str(exc), error_type=type(exc).__name__
            )
            yield RunCompletedEvent(failed)
            return
        result = NodeRunResult(
            status=OK,
            inputs={},
            process_data={"model_provider": instance.provider, "model_name": "stub-chat"},
            outputs={"text": text, "finish_reason": "stop"},
            metadata={"total_tokens": 5},
            llm_usage=usage,
        )
        yield RunCompletedEvent(result)


class ToolNode(BaseNode):
    _node_type = "tool"

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


class KnowledgeRetrievalNode(BaseNode):
    _node_type = "knowledge-retrieval"

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


class CodeNode(BaseNode):
    _node_type = "code"

    def _run(self):
        output = CodeExecutor.execute_code("python3", "", "print(1)")
        return NodeRunResult(status=OK, outputs={"result": output})


class EndNode(BaseNode):
    _node_type = "end"

    def _run(self):
        return NodeRunResult(status=OK, outputs={"out": "done"})
