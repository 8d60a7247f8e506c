"""Runs small workflows on the real engine of whatever graphon this interpreter has, instrumented, and prints the spans.

A program of its own because every graphon needs its own environment; imports nothing but graphon, OpenTelemetry's SDK
and dify-otel's instrumentors. What differs between engines is probed, as in the code under test.
"""

from __future__ import annotations

import inspect
import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from dify_otel_instrumentors import seams, workflow
from dify_otel_instrumentors.core import context, guard, hooks, span, wrapper
from dify_otel_instrumentors.core.rules import Policy
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

EXPORTER = InMemorySpanExporter()

# As in Dify: hooked before the engine is imported.
hooks.apply(s for s in seams.SEAMS if any("graphon." in t for t in s.targets))
context.carry_into_threads()
guard.loud(True)

from graphon.graph.graph import Graph  # noqa: E402
from graphon.nodes.base.node import Node  # noqa: E402
from graphon.nodes.end.end_node import EndNode  # noqa: E402
from graphon.nodes.if_else.if_else_node import IfElseNode  # noqa: E402
from graphon.nodes.iteration.iteration_node import IterationNode  # noqa: E402
from graphon.nodes.iteration.iteration_start_node import IterationStartNode  # noqa: E402
from graphon.nodes.loop.loop_end_node import LoopEndNode  # noqa: E402
from graphon.nodes.loop.loop_node import LoopNode  # noqa: E402
from graphon.nodes.loop.loop_start_node import LoopStartNode  # noqa: E402
from graphon.nodes.start.start_node import StartNode  # noqa: E402
from graphon.nodes.template_transform.template_transform_node import TemplateTransformNode  # noqa: E402
from graphon.runtime.variable_pool import VariablePool  # noqa: E402
from graphon.template_rendering import Jinja2TemplateRenderer  # noqa: E402

try:
    from graphon.engine.command.builtin.in_memory import InMemoryChannel  # 0.8
    from graphon.engine.command.entities import AbortCommand
    from graphon.engine.engine import Engine
    from graphon.entities.base_node_data import BaseNodeData
    from graphon.runtime.init_params import InitParams as Params
    from graphon.runtime.runtime_state import RuntimeState as State
except ImportError:
    from graphon.entities.base_node_data import BaseNodeData
    from graphon.entities.graph_init_params import GraphInitParams as Params
    from graphon.graph_engine.command_channels.in_memory_channel import InMemoryChannel
    from graphon.graph_engine.entities.commands import AbortCommand
    from graphon.graph_engine.graph_engine import GraphEngine as Engine
    from graphon.runtime.graph_runtime_state import GraphRuntimeState as State

CLASSES: dict[str, type[Node]] = {
    "start": StartNode,
    "end": EndNode,
    "if-else": IfElseNode,
    "template-transform": TemplateTransformNode,
    "iteration": IterationNode,
    "iteration-start": IterationStartNode,
    "loop": LoopNode,
    "loop-start": LoopStartNode,
    "loop-end": LoopEndNode,
}


class Renderer(Jinja2TemplateRenderer):  # type: ignore[misc]
    """Puts variables in by name; a template that says `fail` fails, one that says `late` takes a while."""

    def render_template(self, template: str, variables: Mapping[str, Any]) -> str:
        for name, value in variables.items():
            template = template.replace(f"{{{{ {name} }}}}", str(value))
        if "late" in template:
            time.sleep(0.05)
        if "fail" in template:
            raise ValueError(f"cannot render {template}")
        return template


class Factory:
    """Makes nodes for a graph, in every engine's way."""

    def __init__(self, params: Any, state: Any) -> None:
        self.params = params
        self.state = state

    def with_runtime_state(self, *args: Any, **kwargs: Any) -> Factory:
        return Factory(self.params, [*args, *kwargs.values()][0])

    def with_graph_config(self, graph_config: Mapping[str, Any]) -> Factory:
        return Factory(self.params.model_copy(update={"graph_config": graph_config}), self.state)

    def validate_node(self, node_config: Any) -> Any:
        return CLASSES[_data(node_config)["type"]].execution_type

    def create_node(self, node_config: Any) -> Any:
        data = _data(node_config)
        cls = CLASSES[data["type"]]
        given = {
            "graph_init_params": self.params,
            "graph_runtime_state": self.state,
            "init_params": self.params,
            "runtime_state": self.state,
            "jinja2_template_renderer": Renderer(),
        }
        wanted = inspect.signature(cls.__init__).parameters
        # In 0.1 a node takes its whole configuration, afterwards its data.
        whole = "NodeConfigDict" in str(getattr(wanted.get("config"), "annotation", ""))
        typed = node_config if whole else cls.validate_node_data(BaseNodeData.model_validate(data))
        return cls(node_config["id"], typed, **{k: v for k, v in given.items() if k in wanted})


def _data(node_config: Any) -> dict[str, Any]:
    data = node_config["data"]
    return data if isinstance(data, dict) else data.model_dump()


class Children:
    """Builds the engines of iteration items and loop rounds, until 0.6, as Dify does: with its parent's context."""

    def build_child_engine(
        self,
        *,
        workflow_id: str,
        graph_init_params: Any,
        parent_graph_runtime_state: Any,
        root_node_id: str,
        variable_pool: Any = None,
    ) -> Any:
        state = State(
            variable_pool=variable_pool or parent_graph_runtime_state.variable_pool,
            start_at=time.perf_counter(),
            execution_context=parent_graph_runtime_state.execution_context,
        )
        graph = Graph.init(
            graph_config=graph_init_params.graph_config,
            node_factory=Factory(graph_init_params, state),
            root_node_id=root_node_id,
        )
        return Engine(workflow_id, graph, state, InMemoryChannel(), child_engine_builder=self)


def engine(graph_config: dict[str, Any], channel: Any) -> Any:
    """The engine of one run."""
    params = Params(workflow_id="w", graph_config=graph_config, run_context={"_dify": {}}, call_depth=0)
    pool = VariablePool()
    pool.add(["start", "words"], ["alpha", "beta", "gamma"])
    pool.add(["sys", "workflow_run_id"], "run-1")
    named = {"workflow_id": "w"} if "workflow_id" in inspect.signature(State.__init__).parameters else {}
    state = State(variable_pool=pool, start_at=time.perf_counter(), **named)
    graph = Graph.init(graph_config=graph_config, node_factory=Factory(params, state), root_node_id="start")
    if "workers" in inspect.signature(Engine.__init__).parameters:
        return Engine(graph, state, channel)
    if "child_engine_builder" in inspect.signature(Engine.__init__).parameters:
        return Engine("w", graph, state, channel, child_engine_builder=Children())
    return Engine("w", graph, state, channel)


# --- graphs


def node(node_id: str, kind: str, container: str = "", **data: Any) -> dict[str, Any]:
    out = {"id": node_id, "type": "custom", "data": {"type": kind, "title": node_id, **data}}
    if container:
        word = "iteration" if container.startswith("it") else "loop"
        out["data"] |= {f"{word}_id": container, f"isIn{word.capitalize()}": True, f"is_in_{word}": True}
        out["parentId"] = container
    return out


def graph(nodes: list[dict[str, Any]], *edges: tuple[str, str]) -> dict[str, Any]:
    return {
        "nodes": nodes,
        "edges": [
            {
                "id": f"{a}-{b}",
                "source": a,
                "target": b,
                "sourceHandle": handle,
                "targetHandle": "target",
                "type": "custom",
            }
            for a, b, handle in ((*e, "source") if len(e) == 2 else e for e in edges)
        ],
    }


def template(node_id: str, text: str, container: str = "", **variables: list[str]) -> dict[str, Any]:
    given = [{"variable": k, "value_selector": v} for k, v in variables.items()]
    return node(node_id, "template-transform", container, template=text, variables=given)


def plain(text: str = "hello") -> dict[str, Any]:
    case = {"id": "true", "case_id": "true", "logical_operator": "and", "conditions": [_condition(["tpl", "output"])]}
    return graph(
        [
            node("start", "start", variables=[]),
            template("tpl", text),
            node("choice", "if-else", cases=[case]),
            node("end", "end", outputs=[{"variable": "x", "value_selector": ["tpl", "output"]}]),
        ],
        ("start", "tpl"),
        ("tpl", "choice"),
        ("choice", "end", "true"),
    )


def _condition(selector: list[str], operator: str = "not empty", value: str = "") -> dict[str, Any]:
    return {
        "id": "c",
        "varType": "string",
        "variable_selector": selector,
        "comparison_operator": operator,
        "value": value,
    }


def iteration(parallel: bool = False, text: str = "late {{ w }}", **data: Any) -> dict[str, Any]:
    return graph(
        [
            node("start", "start", variables=[]),
            node(
                "it",
                "iteration",
                start_node_id="itstart",
                iterator_selector=["start", "words"],
                output_selector=["body", "output"],
                is_parallel=parallel,
                parallel_nums=3,
                **data,
            ),
            node("itstart", "iteration-start", "it"),
            template("body", text, "it", w=["it", "item"]),
            template("next", "{{ b }}!", "it", b=["body", "output"]),
            node("end", "end", outputs=[{"variable": "x", "value_selector": ["it", "output"]}]),
        ],
        ("start", "it"),
        ("itstart", "body"),
        ("body", "next"),
        ("it", "end"),
    )


def loop() -> dict[str, Any]:
    return graph(
        [
            node("start", "start", variables=[]),
            node(
                "loop",
                "loop",
                start_node_id="loopstart",
                loop_count=2,
                break_conditions=[],
                logical_operator="and",
                loop_variables=[],
            ),
            node("loopstart", "loop-start", "loop"),
            template("round", "again", "loop"),
            node("end", "end", outputs=[]),
        ],
        ("start", "loop"),
        ("loopstart", "round"),
        ("loop", "end"),
    )


SCENARIOS: dict[str, Callable[[], dict[str, Any]]] = {
    "plain": plain,
    "failing": lambda: plain("fail"),
    "iteration": iteration,
    "iteration-parallel": lambda: iteration(parallel=True),
    "iteration-failing": lambda: iteration(text="late fail {{ w }}"),
    "iteration-continued": lambda: iteration(text="late fail {{ w }}", error_handle_mode="continue-on-error"),
    "loop": loop,
    "iteration-stopped": iteration,
}


class Runner:
    """Shaped like Dify's `WorkflowAppRunner`: builds the engine and hands its events on, inside `run`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.events: list[str] = []

    def run(self) -> None:
        channel = InMemoryChannel()
        self.graph_engine = engine(SCENARIOS[self.name](), channel)
        for event in self.graph_engine.run():
            self._handle_event(self, event)
            if self.name.endswith("-stopped") and type(event).__name__ == "NodeRunIterationNextEvent":
                channel.send_command(AbortCommand(reason="enough"))

    def _handle_event(self, workflow_entry: Any, event: Any) -> None:
        self.events.append(type(event).__name__)


Runner.run = wrapper.instrument(Runner.run, workflow.RUN)  # type: ignore[method-assign]
Runner._handle_event = wrapper.tap(Runner._handle_event, workflow.EVENTS)  # type: ignore[method-assign]


def drive(name: str) -> dict[str, Any]:
    """One run: what came of it and its spans."""
    EXPORTER.clear()
    runner = Runner(name)
    failure = None
    try:
        runner.run()
    except Exception as error:
        failure = f"{type(error).__name__}: {error}"
    return {
        "events": runner.events,
        "raised": failure,
        "spans": [
            {
                "name": s.name,
                "id": s.context.span_id,
                "parent": s.parent.span_id if s.parent else None,
                "trace": s.context.trace_id,
                "start": s.start_time,
                "end": s.end_time,
                "status": s.status.status_code.name,
                "attributes": {k: v for k, v in s.attributes.items() if isinstance(v, str | int | float | bool)},
            }
            for s in EXPORTER.get_finished_spans()
        ],
    }


def main() -> int:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(EXPORTER))
    span.configure(provider.get_tracer("test"), Policy())
    out: dict[str, Any] = {"scenarios": {name: drive(name) for name in sys.argv[1:] or SCENARIOS}}
    out["seams"] = {k: {o.target: o.state for o in v} for k, v in hooks.outcomes.items()}
    json.dump(out, sys.stdout)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
