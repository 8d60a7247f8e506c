"""Adapters between graphon's nodes and Dify: a prepared model, a tool runtime, a retrieval's attachments."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from graphon.file.models import File
from graphon.model_runtime.entities.llm_entities import LLMMode, LLMResult, LLMResultChunk, LLMUsage
from graphon.model_runtime.entities.message_entities import PromptMessage, PromptMessageTool
from graphon.model_runtime.entities.model_entities import AIModelEntity
from graphon.nodes.tool.entities import ToolNodeData
from graphon.nodes.tool.exc import ToolRuntimeInvocationError, ToolRuntimeResolutionError
from graphon.nodes.tool_runtime_entities import ToolRuntimeHandle, ToolRuntimeMessage, ToolRuntimeParameter

from core.app.entities.app_invoke_entities import DifyRunContext
from core.callback_handler.agent_tool_callback_handler import DifyWorkflowCallbackHandler
from core.db.session_factory import session_factory
from core.model_manager import ModelInstance
from core.prompt.prompt_message_util import PromptMessageUtil
from core.tools.__base.tool import Tool
from core.tools.entities.tool_entities import ToolInvokeMessage
from core.tools.tool_engine import ToolEngine
from core.tools.tool_manager import ToolManager
from core.workflow.system_variables import get_system_text
from factories.file_factory import build_from_mappings


class DifyPreparedLLM:
    def __init__(self, model_instance: ModelInstance, request_metadata: Mapping[str, object] | None = None) -> None:
        self._model_instance = model_instance
        self._request_metadata = request_metadata

    @property
    def provider(self) -> str:
        return self._model_instance.provider

    @property
    def model_name(self) -> str:
        return self._model_instance.model_name

    @property
    def parameters(self) -> Mapping[str, Any]:
        return self._model_instance.parameters

    @parameters.setter
    def parameters(self, value: Mapping[str, Any]) -> None:
        self._model_instance.parameters = value

    @property
    def stop(self) -> Sequence[str] | None:
        return self._model_instance.stop

    def get_model_schema(self) -> AIModelEntity:
        return self._model_instance.get_model_schema()

    def get_llm_num_tokens(self, prompt_messages: Sequence[PromptMessage]) -> int:
        return self._model_instance.get_llm_num_tokens(prompt_messages)

    def invoke_llm(
        self,
        *,
        prompt_messages: Sequence[PromptMessage],
        model_parameters: Mapping[str, Any],
        tools: Sequence[PromptMessageTool] | None,
        stop: Sequence[str] | None,
        stream: bool,
    ) -> LLMResult | Generator[LLMResultChunk, None, None]:
        return self._model_instance.invoke_llm(
            prompt_messages=list(prompt_messages),
            model_parameters=dict(model_parameters),
            tools=list(tools or []),
            stop=list(stop or []),
            stream=stream,
            request_metadata=self._request_metadata,
        )

    def invoke_llm_with_structured_output(
        self,
        *,
        prompt_messages: Sequence[PromptMessage],
        json_schema: Mapping[str, Any],
        model_parameters: Mapping[str, Any],
        stop: Sequence[str] | None,
        stream: bool,
    ) -> Any:
        raise NotImplementedError("the stand-in has no structured output")

    def is_structured_output_parse_error(self, error: Exception) -> bool:
        return False


class DifyPromptMessageSerializer:
    def serialize(self, *, model_mode: LLMMode, prompt_messages: Sequence[PromptMessage]) -> Any:
        return PromptMessageUtil.prompt_messages_to_prompt_for_saving(model_mode, prompt_messages)


class DifyRetrieverAttachmentLoader:
    def load(self, *, segment_id: str) -> Sequence[File]:
        return []


class NoFiles:
    """Where Dify saves files: the stand-in keeps none, and knows the type of the one its tool `picture` gives."""

    def get_file_generator_by_tool_file_id(self, tool_file_id: str) -> tuple[Any, Any]:
        return None, SimpleNamespace(id=tool_file_id, mime_type="image/png", size=68)

    def __getattr__(self, name: str) -> Any:
        raise NotImplementedError(f"the stand-in keeps no files ({name})")


@dataclass(frozen=True, slots=True)
class _WorkflowToolRuntimeBinding:
    tool: Tool
    conversation_id: str | None = None


class DifyToolNodeRuntime:
    def __init__(self, run_context: DifyRunContext) -> None:
        self._run_context = run_context

    def build_file_reference(self, *, mapping: Mapping[str, Any]) -> Any:
        return build_from_mappings(
            mappings=[{**mapping, "upload_file_id": mapping["tool_file_id"]}], tenant_id=self._run_context.tenant_id
        )[0]

    def get_runtime(
        self, *, node_id: str, node_data: ToolNodeData, variable_pool: Any, node_execution_id: str | None = None
    ) -> ToolRuntimeHandle:
        try:
            tool = ToolManager.get_workflow_tool_runtime(
                self._run_context.tenant_id,
                self._run_context.app_id,
                node_id,
                node_data,
                self._run_context.user_id,
                self._run_context.invoke_from,
                variable_pool,
            )
        except Exception as exc:
            raise ToolRuntimeResolutionError(str(exc)) from exc
        conversation_id = get_system_text(variable_pool, "conversation_id") if variable_pool is not None else None
        return ToolRuntimeHandle(raw=_WorkflowToolRuntimeBinding(tool=tool, conversation_id=conversation_id))

    def get_runtime_parameters(self, *, tool_runtime: ToolRuntimeHandle) -> Sequence[ToolRuntimeParameter]:
        return [
            ToolRuntimeParameter(name=parameter.name, required=parameter.required)
            for parameter in self._binding(tool_runtime).tool.get_merged_runtime_parameters()
        ]

    def invoke(
        self,
        *,
        tool_runtime: ToolRuntimeHandle,
        tool_parameters: Mapping[str, Any],
        workflow_call_depth: int,
        provider_name: str,
    ) -> Generator[ToolRuntimeMessage, None, None]:
        binding = self._binding(tool_runtime)
        try:
            with session_factory.get_session_maker().begin() as session:
                for message in ToolEngine.generic_invoke(
                    session=session,
                    tool=binding.tool,
                    tool_parameters=dict(tool_parameters),
                    user_id=self._run_context.user_id,
                    workflow_tool_callback=DifyWorkflowCallbackHandler(),
                    workflow_call_depth=workflow_call_depth,
                    app_id=self._run_context.app_id,
                    conversation_id=binding.conversation_id,
                ):
                    yield self._convert_message(message)
        except Exception as exc:
            raise ToolRuntimeInvocationError(
                f"Failed to invoke tool {provider_name}: {getattr(exc, 'description', None) or exc}"
            ) from exc

    def get_usage(self, *, tool_runtime: ToolRuntimeHandle) -> LLMUsage:
        return LLMUsage.empty_usage()

    @staticmethod
    def _binding(tool_runtime: ToolRuntimeHandle) -> _WorkflowToolRuntimeBinding:
        assert isinstance(tool_runtime.raw, _WorkflowToolRuntimeBinding)
        return tool_runtime.raw

    @staticmethod
    def _convert_message(message: ToolInvokeMessage) -> ToolRuntimeMessage:
        return ToolRuntimeMessage.model_validate(message.model_dump())
