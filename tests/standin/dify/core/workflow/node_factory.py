"""Builds graphon's nodes with Dify's models, tools, sandbox and HTTP."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import graphon.nodes
from graphon.entities.graph_config import NodeConfigDictAdapter
from graphon.entities.graph_init_params import GraphInitParams
from graphon.enums import BuiltinNodeTypes, NodeType
from graphon.file import file_manager
from graphon.graph.graph import NodeFactory
from graphon.model_runtime.entities.model_entities import ModelType
from graphon.nodes.base.node import Node
from graphon.nodes.code.entities import CodeLanguage
from graphon.nodes.code.limits import CodeNodeLimits
from graphon.nodes.http_request import build_http_request_config
from graphon.runtime import GraphRuntimeState

from configs import dify_config
from core.app.entities.app_invoke_entities import DIFY_RUN_CONTEXT_KEY, DifyRunContext
from core.helper.code_executor.code_executor import CodeExecutionError, CodeExecutor
from core.helper.ssrf_proxy import graphon_ssrf_proxy
from core.model_manager import ModelManager
from core.workflow.human_input import DifyHITLCallback
from core.workflow.node_runtime import (
    DifyPreparedLLM,
    DifyPromptMessageSerializer,
    DifyRetrieverAttachmentLoader,
    DifyToolNodeRuntime,
    NoFiles,
)
from core.workflow.template_rendering import CodeExecutorJinja2TemplateRenderer

_START_NODE_TYPES = frozenset({BuiltinNodeTypes.START})


@dataclass(frozen=True)
class DifyGraphInitContext:
    workflow_id: str
    graph_config: Mapping[str, Any]
    run_context: Mapping[str, Any]
    call_depth: int

    def to_graph_init_params(self) -> GraphInitParams:
        return GraphInitParams(
            workflow_id=self.workflow_id,
            graph_config=self.graph_config,
            run_context=self.run_context,
            call_depth=self.call_depth,
        )


@lru_cache(maxsize=1)
def register_nodes() -> None:
    import core.workflow.nodes as own

    for package in (graphon.nodes, own):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            # Optional readers of office files are no part of the stand-in.
            if "document_extractor" not in module.name:
                importlib.import_module(module.name)


def resolve_workflow_node_class(*, node_type: NodeType, node_version: str) -> type[Node]:
    register_nodes()
    versions = Node.get_node_type_classes_mapping().get(node_type)
    if not versions:
        raise ValueError(f"No class mapping found for node type: {node_type}")
    return versions.get(node_version) or versions["latest"]


def is_start_node_type(node_type: NodeType) -> bool:
    return node_type in _START_NODE_TYPES


def get_default_root_node_id(graph_config: Mapping[str, Any]) -> str:
    for node in graph_config["nodes"]:
        if is_start_node_type(node["data"]["type"]):
            return node["id"]
    raise ValueError("start node not found in workflow graph")


class DefaultWorkflowCodeExecutor:
    def execute(self, *, language: CodeLanguage, code: str, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        return CodeExecutor.execute_workflow_code_template(language=language, code=code, inputs=inputs)

    def is_execution_error(self, error: Exception) -> bool:
        return isinstance(error, CodeExecutionError)


class DifyNodeFactory(NodeFactory):
    @classmethod
    def from_graph_init_context(
        cls, *, graph_init_context: DifyGraphInitContext, graph_runtime_state: GraphRuntimeState
    ) -> "DifyNodeFactory":
        return cls(graph_init_params=graph_init_context.to_graph_init_params(), graph_runtime_state=graph_runtime_state)

    def __init__(self, graph_init_params: GraphInitParams, graph_runtime_state: GraphRuntimeState) -> None:
        self.graph_init_params = graph_init_params
        self.graph_runtime_state = graph_runtime_state
        self._dify_context: DifyRunContext = graph_init_params.run_context[DIFY_RUN_CONTEXT_KEY]
        self._code_executor = DefaultWorkflowCodeExecutor()
        self._code_limits = CodeNodeLimits(
            max_string_length=400_000,
            max_number=2**63 - 1,
            min_number=-(2**63),
            max_precision=20,
            max_depth=5,
            max_number_array_length=1000,
            max_string_array_length=1000,
            max_object_array_length=1000,
        )
        self._jinja2_template_renderer = CodeExecutorJinja2TemplateRenderer()
        self._tool_runtime = DifyToolNodeRuntime(self._dify_context)
        self._http_request_config = build_http_request_config(
            ssrf_default_max_retries=dify_config.SSRF_DEFAULT_MAX_RETRIES
        )

    def create_node(self, node_config: Any) -> Node:
        typed = NodeConfigDictAdapter.validate_python(node_config)
        data = typed["data"]
        node_class = resolve_workflow_node_class(node_type=data.type, node_version=str(data.version))
        resolved = node_class.validate_node_data(data)
        factories: Mapping[NodeType, Callable[[], dict[str, Any]]] = {
            BuiltinNodeTypes.CODE: lambda: {"code_executor": self._code_executor, "code_limits": self._code_limits},
            BuiltinNodeTypes.TEMPLATE_TRANSFORM: lambda: {
                "jinja2_template_renderer": self._jinja2_template_renderer,
            },
            BuiltinNodeTypes.HTTP_REQUEST: lambda: {
                "http_request_config": self._http_request_config,
                "http_client": graphon_ssrf_proxy,
                "tool_file_manager_factory": NoFiles,
                "file_manager": file_manager,
                "file_reference_factory": NoFiles(),
            },
            BuiltinNodeTypes.HUMAN_INPUT: lambda: {"hitl_callback": DifyHITLCallback()},
            BuiltinNodeTypes.LLM: lambda: {
                **self._model(resolved),
                "http_client": graphon_ssrf_proxy,
                "llm_file_saver": NoFiles(),
                "retriever_attachment_loader": DifyRetrieverAttachmentLoader(),
                "jinja2_template_renderer": self._jinja2_template_renderer,
                "default_query_selector": ("sys", "query"),
            },
            BuiltinNodeTypes.QUESTION_CLASSIFIER: lambda: {
                **self._model(resolved),
                "http_client": graphon_ssrf_proxy,
                "llm_file_saver": NoFiles(),
                "template_renderer": self._jinja2_template_renderer,
            },
            BuiltinNodeTypes.PARAMETER_EXTRACTOR: lambda: self._model(resolved),
            BuiltinNodeTypes.TOOL: lambda: {"tool_file_manager": NoFiles(), "runtime": self._tool_runtime},
        }
        return node_class(
            node_id=typed["id"],
            data=resolved.model_dump(mode="python", by_alias=True),
            graph_init_params=self.graph_init_params,
            graph_runtime_state=self.graph_runtime_state,
            **factories.get(data.type, dict)(),
        )

    def _model(self, node_data: Any) -> dict[str, Any]:
        config = node_data.model
        instance = ModelManager.for_tenant(self._dify_context.tenant_id, self._dify_context.user_id).get_model_instance(
            self._dify_context.tenant_id, config.provider, ModelType.LLM, config.name
        )
        parameters = dict(config.completion_params)
        instance.stop = tuple(parameters.pop("stop", ()))
        instance.parameters = parameters
        return {
            "credentials_provider": None,
            "model_factory": None,
            "model_instance": DifyPreparedLLM(instance, request_metadata={"app_id": self._dify_context.app_id}),
            "memory": None,
            "prompt_message_serializer": DifyPromptMessageSerializer(),
        }
