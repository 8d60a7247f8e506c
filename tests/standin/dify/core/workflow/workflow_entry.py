"""Runs a graph with graphon's engine, and single nodes without it."""

import logging
import time
from collections.abc import Generator, Mapping
from typing import Any

from graphon.entities.graph_init_params import GraphInitParams
from graphon.errors import WorkflowNodeRunFailedError
from graphon.filters import GraphEventFilterContext, ResponseStreamFilter, filter_graph_events
from graphon.graph import Graph
from graphon.graph_engine import GraphEngine, GraphEngineConfig
from graphon.graph_engine.command_channels import CommandChannel, InMemoryChannel
from graphon.graph_engine.layers import ExecutionLimitsLayer
from graphon.graph_events import GraphEngineEvent, GraphNodeEventBase, GraphRunFailedEvent
from graphon.nodes.base.node import Node
from graphon.runtime import ChildGraphNotFoundError, GraphRuntimeState, VariablePool

from configs import dify_config
from context import capture_current_context
from core.app.apps.exc import GenerateTaskStoppedError
from core.app.entities.app_invoke_entities import InvokeFrom, UserFrom, build_dify_run_context
from core.app.workflow.layers.llm_quota import LLMQuotaLayer
from core.app.workflow.layers.observability import ObservabilityLayer
from core.workflow.node_factory import DifyGraphInitContext, DifyNodeFactory, is_start_node_type
from core.workflow.system_variables import add_node_inputs_to_pool
from extensions.otel.runtime import is_instrument_flag_enabled
from models.workflow import Workflow

logger = logging.getLogger(__name__)


class _WorkflowChildEngineBuilder:
    """The engine of an iteration's or loop's body: it inherits the outer run's execution context."""

    tenant_id: str

    def __init__(self, *, tenant_id: str) -> None:
        self.tenant_id = tenant_id

    def build_child_engine(
        self,
        *,
        workflow_id: str,
        graph_init_params: GraphInitParams,
        parent_graph_runtime_state: GraphRuntimeState,
        root_node_id: str,
        variable_pool: VariablePool | None = None,
    ) -> GraphEngine:
        state = GraphRuntimeState(
            variable_pool=variable_pool if variable_pool is not None else parent_graph_runtime_state.variable_pool,
            start_at=time.perf_counter(),
            execution_context=parent_graph_runtime_state.execution_context,
        )
        graph_config = graph_init_params.graph_config
        if root_node_id not in {node["id"] for node in graph_config["nodes"]}:
            raise ChildGraphNotFoundError(f"child graph root node '{root_node_id}' not found")
        factory = DifyNodeFactory(graph_init_params=graph_init_params, graph_runtime_state=state)
        engine = GraphEngine(
            workflow_id=workflow_id,
            graph=Graph.init(graph_config=graph_config, node_factory=factory, root_node_id=root_node_id),
            graph_runtime_state=state,
            command_channel=InMemoryChannel(),
            config=GraphEngineConfig(),
            child_engine_builder=self,
        )
        engine.layer(LLMQuotaLayer(tenant_id=self.tenant_id))
        return engine


class WorkflowEntry:
    def __init__(
        self,
        tenant_id: str,
        app_id: str,
        workflow_id: str,
        graph_config: Mapping[str, Any],
        graph: Graph,
        user_id: str,
        user_from: UserFrom,
        invoke_from: InvokeFrom,
        call_depth: int,
        variable_pool: VariablePool,
        graph_runtime_state: GraphRuntimeState,
        command_channel: CommandChannel | None = None,
        response_stream_filter: ResponseStreamFilter | None = None,
    ) -> None:
        if call_depth > dify_config.WORKFLOW_CALL_MAX_DEPTH:
            raise ValueError(f"Max workflow call depth {dify_config.WORKFLOW_CALL_MAX_DEPTH} reached.")
        self.command_channel = command_channel or InMemoryChannel()
        self._response_stream_filter = response_stream_filter or ResponseStreamFilter()
        graph_runtime_state.execution_context = capture_current_context()
        self.graph_engine = GraphEngine(
            workflow_id=workflow_id,
            graph=graph,
            graph_runtime_state=graph_runtime_state,
            command_channel=self.command_channel,
            config=GraphEngineConfig(
                min_workers=dify_config.GRAPH_ENGINE_MIN_WORKERS,
                max_workers=dify_config.GRAPH_ENGINE_MAX_WORKERS,
            ),
            child_engine_builder=_WorkflowChildEngineBuilder(tenant_id=tenant_id),
        )
        self.graph_engine.layer(
            ExecutionLimitsLayer(
                max_steps=dify_config.WORKFLOW_MAX_EXECUTION_STEPS,
                max_time=dify_config.WORKFLOW_MAX_EXECUTION_TIME,
            )
        )
        self.graph_engine.layer(LLMQuotaLayer(tenant_id=tenant_id))
        if dify_config.ENABLE_OTEL or is_instrument_flag_enabled():
            self.graph_engine.layer(ObservabilityLayer())

    def run(self) -> Generator[GraphEngineEvent, None, None]:
        engine = self.graph_engine
        try:
            yield from filter_graph_events(
                engine.run(),
                context=GraphEventFilterContext.from_engine(engine),
                filters=[self._response_stream_filter],
            )
        except GenerateTaskStoppedError:
            pass
        except Exception as exc:
            logger.exception("Unknown Error when workflow entry running")
            yield GraphRunFailedEvent(error=str(exc))

    @classmethod
    def single_step_run(
        cls,
        *,
        workflow: Workflow,
        node_id: str,
        user_id: str,
        user_inputs: Mapping[str, Any],
        variable_pool: VariablePool,
        variable_loader: Any = None,
    ) -> tuple[Node, Generator[GraphNodeEventBase, None, None]]:
        node_config = workflow.get_node_config_by_id(node_id)
        run_context = build_dify_run_context(
            tenant_id=workflow.tenant_id,
            app_id=workflow.app_id,
            user_id=user_id,
            user_from=UserFrom.ACCOUNT,
            invoke_from=InvokeFrom.DEBUGGER,
        )
        state = GraphRuntimeState(
            variable_pool=variable_pool,
            start_at=time.perf_counter(),
            execution_context=capture_current_context(),
        )
        if is_start_node_type(node_config["data"].type):
            add_node_inputs_to_pool(variable_pool, node_id=node_id, inputs=user_inputs)
        # The console names inputs by selector: "#code.clean#".
        for name, value in user_inputs.items():
            selector = name.strip("#").split(".")
            if len(selector) > 1:
                variable_pool.add(selector, value)
        factory = DifyNodeFactory.from_graph_init_context(
            graph_init_context=DifyGraphInitContext(
                workflow_id=workflow.id,
                graph_config=workflow.graph_dict,
                run_context=run_context,
                call_depth=0,
            ),
            graph_runtime_state=state,
        )
        node = factory.create_node(node_config)
        try:
            return node, cls._traced_node_run(node)
        except Exception as exc:
            raise WorkflowNodeRunFailedError(node=node, err_msg=str(exc)) from exc

    @staticmethod
    def _traced_node_run(node: Node) -> Generator[GraphNodeEventBase, None, None]:
        layer = ObservabilityLayer()
        layer.on_graph_start()
        node.ensure_execution_id()

        def _gen() -> Generator[GraphNodeEventBase, None, None]:
            error: Exception | None = None
            layer.on_node_run_start(node)
            try:
                yield from node.run()
            except Exception as exc:
                error = exc
                raise
            finally:
                layer.on_node_run_end(node, error)

        return _gen()
