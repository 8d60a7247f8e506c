"""A node of a workflow: one span a run of `Node.run`, in every engine Dify has had.

`run` is a generator in all of them and turns a node's failure into an event, so the status comes from the events that
pass. The span is current while the node's own code runs, which makes it the parent of the node's model, tool, retrieval
and HTTP calls. Children of an iteration or loop run in an engine of their own (`CHILD_ENGINE` gives them their parent),
from graphon 0.7 on in frames of the one engine (`FRAME_NODE`), while their container's `run` waits for its resumption.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from time import time
from types import GeneratorType
from typing import Any

from . import shapes
from .core.operation import Content, Error, Measure, Operation, Tap

_CONTEXT = "_dify_otel_context"
_ATTEMPTS = "_dify_otel_attempts"
_CALL = "_dify_otel_call"

_SPAN_KINDS = {
    "knowledge-retrieval": "RETRIEVER",
    "tool": "TOOL",
    "agent": "AGENT",
    "iteration": "CHAIN",
    "loop": "CHAIN",
    "question-classifier": "CHAIN",
    "parameter-extractor": "CHAIN",
}


def _keep(holder: Any, name: str, value: Any) -> None:
    # GraphRuntimeState was a pydantic model in 1.9.0-1.9.1: only object.__setattr__ gets past it.
    try:
        object.__setattr__(holder, name, value)
    except AttributeError:
        return


def _parent(arguments: Mapping[str, Any]) -> Any:
    return getattr(_state(arguments.get("self")), _CONTEXT, None)


def _state(holder: Any) -> Any:
    """A node's runtime state; graphon 0.8 shortened the name."""
    return shapes.first(holder, "runtime_state", "graph_runtime_state")


def _type(node: Any) -> str | None:
    return shapes.word(shapes.first(node, "node_type", "_node_type", "type_"))


def _identity(node: Any) -> tuple[Any, Any, Any]:
    """Graph node id, execution id, title. Until 1.8.1 `id` is the execution and `node_id` the graph node."""
    data = shapes.first(node, "node_data", "_node_data")
    title = getattr(node, "title", None) or shapes.column(data, "title")
    node_id = getattr(node, "node_id", None)
    if node_id is not None and getattr(node, "previous_node_id", node) is not node:
        return node_id, getattr(node, "id", None), title
    execution = getattr(node, "execution_id", None) or getattr(node, "_node_execution_id", None)
    return shapes.first(node, "id", "_node_id"), execution or None, title


def _before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
    node = arguments.get("self")
    node_id, execution_id, title = _identity(node)
    kind = _type(node)
    yield "dify.node.id", shapes.word(node_id)
    yield "dify.node.type", kind
    yield "dify.node.title", shapes.word(title)
    yield "dify.node.execution_id", shapes.word(execution_id)
    yield "dify.node.predecessor_node_id", shapes.word(getattr(node, "previous_node_id", None))
    yield "dify.workflow.id", shapes.word(getattr(node, "workflow_id", None))
    strategy = shapes.word(_probe(node, "error_strategy"))
    if strategy:
        yield "dify.node.error_strategy", strategy
    ids = shapes.run_context(node)
    yield "dify.app_id", shapes.word(getattr(ids, "app_id", None))
    yield "dify.tenant_id", shapes.word(getattr(ids, "tenant_id", None))
    if enclosing is None or "dify.workflow.run_id" not in enclosing.inherited:
        yield "dify.workflow.run_id", shapes.workflow_run_id(_state(node))
    item = enclosing.nearest("item") if enclosing is not None else None
    if item is not None:
        index = item.state.get("index")
        prefix = "dify.node.loop" if item.state.get("container") == "loop" else "dify.node.iteration"
        yield f"{prefix}_id", item.state.get("container_id")
        yield f"{prefix}_index", index
    attempt = getattr(node, _ATTEMPTS, 0)
    _keep(node, _ATTEMPTS, attempt + 1)
    if attempt:
        yield "dify.node.retry_index", attempt
        yield Measure("dify.node.retries", 1, {"dify.node.type": kind})
    yield "span_kind", _SPAN_KINDS.get(kind or "", "TASK")


def _probe(node: Any, name: str) -> Any:
    try:
        value = getattr(node, name, None)
        return value if value is not None else shapes.column(shapes.first(node, "node_data", "_node_data"), name)
    except Exception:  # properties of nodes whose data is not there yet
        return None


def _name(facts: Mapping[str, Any]) -> str:
    return f"{facts.get('dify.node.type') or 'node'} {facts.get('dify.node.title') or ''}".rstrip()


def _opened(call: Any, arguments: Mapping[str, Any]) -> None:
    node = arguments.get("self")
    call.state["type"] = _type(node)
    call.state["node"] = shapes.word(_identity(node)[0])
    call.state["handled"] = bool(shapes.word(_probe(node, "error_strategy")))
    if call.state["type"] == "iteration":
        call.state["parallel"] = bool(_probe(node, "is_parallel"))
    _keep(node, _CONTEXT, call.context)


_PASSED_ON = frozenset(
    {"NodeRunStreamChunkEvent", "RunStreamChunkEvent", "NodeRunReasoningChunkEvent", "NodeRunRetrieverResourceEvent"}
)


def _during(call: Any, event: Any) -> None:
    kind = type(event).__name__
    if kind in _PASSED_ON:
        if call.first_item is None and kind in ("NodeRunStreamChunkEvent", "RunStreamChunkEvent") and _own(call, event):
            call.note_chunk()
        return
    if not _own(call, event):
        return
    if kind == "NodeRunStartedEvent":
        provider = getattr(event, "provider_id", None)
        call.tell(
            [
                ("dify.node.execution_id", shapes.word(getattr(event, "id", None))),
                ("dify.node.predecessor_node_id", shapes.word(getattr(event, "predecessor_node_id", None))),
                ("dify.node.provider_id", shapes.word(provider) if provider else None),
            ]
        )
    elif kind in ("NodeRunSucceededEvent", "NodeRunFailedEvent"):
        _result(call, getattr(event, "node_run_result", None), kind == "NodeRunFailedEvent")
    elif kind == "RunCompletedEvent":  # 1.6.0-1.8.1
        result = getattr(event, "run_result", None)
        _result(call, result, shapes.word(getattr(result, "status", None)) == "failed")
    elif kind == "NodeRunPauseRequestedEvent":
        call.state["status"] = "paused"
        call.state["complete"] = True
        _waits(call, getattr(event, "reason", None))
    elif kind in _AWAITED:
        _suspend(call)
    elif kind.endswith(
        ("IterationStartedEvent", "LoopStartedEvent", "IterationRunStartedEvent", "LoopRunStartedEvent")
    ):
        metadata = getattr(event, "metadata", None)
        if isinstance(metadata, Mapping):
            call.state["length"] = shapes.entry(metadata, "iteration_length", "iterator_length")
            call.tell(
                [
                    ("dify.iteration.length", shapes.entry(metadata, "iteration_length", "iterator_length")),
                    ("dify.loop.length", metadata.get("loop_length")),
                ]
            )


def _waits(call: Any, reason: Any) -> None:
    """The node waits for a person. When that began is kept with the run, which may go on in another process."""
    form = shapes.first(reason, "session_id", "form_id")
    call.tell([("dify.human_input.form_id", shapes.word(form))])
    workflow = call.nearest("workflow")
    extras = workflow.state.get("extras") if workflow is not None else None
    if extras is not None:
        extras.setdefault("dify_otel_paused_at", time())


_AWAITED = frozenset({"IterationFrameRequest", "LoopFrameRequest"})


def _suspend(call: Any) -> None:
    """The container asks for its children: its generator is dropped now, and `resume_container` goes on."""
    node = (call.arguments or {}).get("self")
    if node is None:
        return
    # The dropped generator must not end the span: an ended call ignores it.
    call.ended = True
    call.state["suspended"] = True
    _keep(node, _CALL, call)
    workflow = call.nearest("workflow")
    if workflow is not None:
        workflow.state.setdefault("suspended", {})[id(call)] = call


def _awaken(call: Any) -> bool:
    """Whether the call was waiting; if so it goes on."""
    if not call.state.pop("suspended", False):
        return False
    call.ended = False
    workflow = call.nearest("workflow")
    if workflow is not None:
        workflow.state.get("suspended", {}).pop(id(call), None)
    return True


def abandon(calls: Any, status: str | None) -> None:
    """End the containers that were waiting for their children when the run stopped or paused."""
    for call in list(calls.values()):
        if _awaken(call):
            _end_items(call)
            call.state["status"] = status
            call.finish(None)


def _own(call: Any, event: Any) -> bool:
    """Whether the event is the node's own: those of an iteration's or loop's children pass through it as well."""
    event_node = getattr(event, "node_id", None)
    return event_node is None or event_node == call.state.get("node")


def _result(call: Any, result: Any, failed: bool) -> None:
    call.state["complete"] = True
    if result is None:
        return
    _end_items(call)
    facts: list[tuple[str, Any]] = [
        ("dify.node.inputs", Content(getattr(result, "inputs", None))),
        ("dify.node.process_data", Content(getattr(result, "process_data", None))),
        ("dify.node.outputs", Content(getattr(result, "outputs", None))),
    ]
    handle = getattr(result, "edge_source_handle", None)
    if handle and handle != "source":
        facts.append(("dify.node.selected_branch", shapes.word(handle)))
    metadata = getattr(result, "metadata", None)
    if isinstance(metadata, Mapping):
        facts += _metadata(metadata)
    if failed:
        kind = shapes.word(getattr(result, "error_type", None))
        if kind is None or kind in ("", "WorkflowNodeError"):
            # What the engine says of any exception; the model or tool call below knows better.
            kind = call.state.get("cause") or "WorkflowNodeError"
        text = shapes.word(getattr(result, "error", None))
        call.error(Error(kind, text))
        call.state["status"] = "exception" if call.state.get("handled") else "failed"
        workflow = call.nearest("workflow")
        if workflow is not None and not call.state.get("handled"):
            workflow.state["node_error"] = kind
    else:
        call.state["status"] = "succeeded"
    call.tell(facts)


def _metadata(metadata: Mapping[Any, Any]) -> list[tuple[str, Any]]:
    values = {shapes.word(k): v for k, v in metadata.items()}
    facts: list[tuple[str, Any]] = [
        ("dify.node.total_tokens", values.get("total_tokens")),
        ("dify.loop.completed_reason", shapes.word(values.get("completed_reason"))),
    ]
    price = shapes.number(values.get("total_price"))
    if price:
        facts += [("dify.node.total_price", price), ("dify.node.currency", shapes.word(values.get("currency")))]
    durations = values.get("iteration_duration_map")
    if isinstance(durations, Mapping):
        facts.append(("dify.iteration.count", len(durations)))
    durations = values.get("loop_duration_map")
    if isinstance(durations, Mapping):
        facts.append(("dify.loop.count", len(durations)))
    return facts


def _after(call: Any, result: Any) -> Iterator[Any]:
    status = call.state.get("status") or (
        "failed" if call.failed else "stopped" if call.state.get("cancelled") else None
    )
    kind = call.state.get("type")
    first = call.chunk()
    yield "dify.node.status", status
    yield "dify.node.elapsed_time", round(call.elapsed(), 6)
    yield "dify.node.time_to_first_chunk", round(first, 6) if first is not None else None
    yield Measure("dify.node.duration", call.elapsed(), {"dify.node.type": kind, "dify.node.status": status})
    yield Measure(
        "dify.node.executions",
        1,
        {"dify.node.type": kind, "dify.node.status": status, "error.type": call.failed},
    )
    if kind == "iteration" and isinstance(call.state.get("length"), int):
        yield Measure(
            "dify.iteration.items", call.state["length"], {"dify.iteration.parallel": call.state.get("parallel")}
        )
    if call.state.get("failed_items"):
        yield "dify.iteration.failed_count", call.state["failed_items"]
        yield Measure("dify.iteration.failed_items", call.state["failed_items"], {})


def _applies(arguments: Mapping[str, Any], enclosing: Any) -> bool:
    """Not the markers where an iteration's or loop's inner graph begins: Dify itself does not count them as runs."""
    return _type(arguments.get("self")) not in ("iteration-start", "loop-start")


RUN = Operation(
    concept="node",
    name=_name,
    applies=_applies,
    before=_before,
    during=_during,
    after=_after,
    opened=_opened,
    parent=_parent,
)


# --- iteration items and loop rounds: the run of a child engine


def _item_before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
    node = arguments["node"]
    container = _type(node) or "iteration"
    yield "dify.node.type", f"{container}-item"
    yield f"dify.{container}.index", arguments.get("index")
    yield f"dify.node.{container}_id", shapes.word(_identity(node)[0])
    if "item" in arguments:
        yield "dify.iteration.item", Content(arguments["item"])


def _item_opened(call: Any, arguments: Mapping[str, Any]) -> None:
    node = arguments["node"]
    call.state["container"] = _type(node)
    call.state["container_id"] = shapes.word(_identity(node)[0])
    call.state["index"] = arguments.get("index")


def _item_during(call: Any, event: Any) -> None:
    kind = type(event).__name__
    if kind.startswith("GraphRun") and kind != "GraphRunStartedEvent":
        call.state["complete"] = True
    if kind == "GraphRunFailedEvent":
        call.error(Error("item_failed", shapes.word(getattr(event, "error", None))))


def _item_after(call: Any, result: Any) -> Iterator[Any]:
    if call.failed and call.state.get("container") == "iteration":
        container = call.nearest("node")
        if container is not None and not container.ended:
            container.state["failed_items"] = container.state.get("failed_items", 0) + 1
    return iter(())


ITEM = Operation(
    concept="item",
    name=lambda facts: "loop round" if facts.get("dify.node.type") == "loop-item" else "iteration item",
    before=_item_before,
    during=_item_during,
    after=_item_after,
    opened=_item_opened,
    parent=lambda arguments: getattr(arguments["node"], _CONTEXT, None),
    span_kind="CHAIN",
)

_ROUNDS = "_dify_otel_rounds"


def _child_engine(arguments: Mapping[str, Any], engine: Any, enclosing: Any) -> Any:
    """`_create_graph_engine` of an iteration or loop node: called once a pass, the engine runs that pass."""
    node = arguments.get("self")
    index = arguments.get("index")
    if index is None:
        index = int(getattr(node, _ROUNDS, 0))
        _keep(node, _ROUNDS, index + 1)
    facts: dict[str, Any] = {"node": node, "index": index}
    if "item" in arguments:
        facts["item"] = arguments["item"]
    state = getattr(engine, "graph_runtime_state", None)
    run = getattr(engine, "run", None)
    if state is None or run is None:
        return engine
    # A child engine's threads enter the context of the whole run (1.14.0-1.16.1), a pool's thread none (1.9.0): the
    # parent is therefore left on the state that the children share.
    context = getattr(node, _CONTEXT, None)
    if context is not None:
        _keep(state, _CONTEXT, context)

    def run_as_item(*args: Any, **kwargs: Any) -> Any:
        source = run(*args, **kwargs)
        if type(source) is not GeneratorType:
            return source
        from .core import span  # loads OpenTelemetry: not before Dify runs

        call, stream = span.follow(ITEM, facts, source)
        if call is not None:
            _keep(state, _CONTEXT, call.context)
        return stream

    _keep(engine, "run", run_as_item)
    return engine


CHILD_ENGINE = Tap(replace=_child_engine)


# --- graphon 0.7 and later: iteration items and loop rounds are frames of the run's one engine

_ROOT = "root"


def _frame(registry: Any, frame_id: Any) -> Any:
    """A frame by its id: `get` until 0.7, subscription afterwards."""
    get = getattr(registry, "get", None)
    return get(frame_id) if get is not None else registry[frame_id]


def _frame_node(arguments: Mapping[str, Any], enclosing: Any) -> None:
    """`Worker._bind_execution_id`, ahead of each node: a frame's first begins the item that its nodes belong to."""
    frame_id = arguments.get("frame_id")
    registry = getattr(arguments.get("self"), "_frame_registry", None)
    if frame_id is None or frame_id == _ROOT or registry is None:
        return
    state = shapes.first(_frame(registry, frame_id), "graph_runtime_state", "state")
    if state is None or getattr(state, _CALL, None) is not None:
        return
    root = shapes.first(_frame(registry, _ROOT), "graph_runtime_state", "state")
    held = root.get_container_frame(frame_id)
    run = root.get_container_run(held.parent_invocation_id)
    container = _frame(registry, run.frame_id).graph.nodes[run.node_id]
    index = getattr(held, "index", None)
    facts: dict[str, Any] = {"node": container, "index": index}
    items = getattr(run, "items", None)
    if items is not None and index is not None and index < len(items):
        facts["item"] = getattr(items[index], "value", None)
    from .core import span  # loads OpenTelemetry: not before Dify runs

    call = span.begin(ITEM, facts)
    if call is None:
        return
    _keep(state, _CALL, call)
    _keep(state, _CONTEXT, call.context)
    holder = getattr(container, _CALL, None)
    if holder is not None:
        holder.state.setdefault("items", []).append(call)


def _frame_failed(arguments: Mapping[str, Any], enclosing: Any) -> None:
    """`record_frame_failure` of a container's handler: a child failed and nothing caught it."""
    state = shapes.first(arguments.get("frame"), "graph_runtime_state", "state")
    call = getattr(state, _CALL, None)
    if call is not None:
        call.error(Error("item_failed", shapes.word(getattr(arguments.get("event"), "error", None))))


def _frame_done(arguments: Mapping[str, Any], enclosing: Any) -> None:
    """`FrameRegistry.remove`: the item is over."""
    frame = _frame(arguments.get("self"), arguments.get("frame_id"))
    call = getattr(shapes.first(frame, "graph_runtime_state", "state"), _CALL, None)
    if call is not None:
        call.finish(None)


def _end_items(call: Any) -> None:
    # The engine lets a container go on before it puts the last frame away.
    for item in call.state.get("items", ()):
        item.finish(None)


def _resumed(arguments: Mapping[str, Any], source: Any, enclosing: Any) -> Any:
    """`Node.resume_container`: the same node, going on with what its children made, perhaps on another worker."""
    if type(source) is not GeneratorType:
        return source
    node = arguments.get("self")
    call = getattr(node, _CALL, None)
    if call is not None and _awaken(call):
        from .core import stream

        return stream.relay(source, call)
    from .core import span  # a run resumed in another process: its container began there

    return span.follow(RUN, {"self": node}, source)[1]


RESUMED = Tap(replace=_resumed)
FRAME_NODE = Tap(before=_frame_node)
FRAME_FAILED = Tap(before=_frame_failed)
FRAME_DONE = Tap(before=_frame_done)
