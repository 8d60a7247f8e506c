"""The queue engine (Dify 1.9.0 on): how long its nodes wait, how many workers it has, how many nodes are ready.

Separate from the nodes, which only know that they run: an engine short of workers looks like slow nodes from inside. It
tells metrics only, sampled or not. Times lie on the ready queue they were taken for and engines are held weakly, so
that what an engine leaves behind goes with it. What runs inside iterations and loops counts as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any
from weakref import ref

from . import shapes
from .core import metrics
from .core.operation import Tap

WAITING_MAX = 10_000
"""Nodes of one ready queue whose wait is timed at once; those past it are not."""

_WAITING = "_dify_otel_waiting"

_Key = tuple[str | None, str]


def _key(task: Any) -> _Key | None:
    """A ready node by frame and id: the queue holds ids until graphon 0.6, afterwards tasks of a frame."""
    if type(task) is str:
        return None, task
    node_id = getattr(task, "node_id", None)  # a task that resumes a container has none: that node has started
    return None if node_id is None else (getattr(task, "frame_id", None), node_id)


def _ready(arguments: Mapping[str, Any], enclosing: Any) -> None:
    """`put` of the ready queue, ahead of it: the worker may be at the node before it returns."""
    if not metrics.active():
        return
    key = _key(arguments.get("item"))
    if key is None:
        return
    waiting = vars(arguments["self"]).setdefault(_WAITING, {})
    if len(waiting) < WAITING_MAX:
        waiting[key] = perf_counter()


def _started(arguments: Mapping[str, Any], enclosing: Any) -> None:
    """`Worker._execute_node`, ahead of it: the node has got its worker."""
    waiting = getattr(getattr(arguments.get("self"), "_ready_queue", None), _WAITING, None)
    if not waiting:
        return
    node = arguments.get("node")
    since = waiting.pop((arguments.get("frame_id"), getattr(node, "id", None)), None)
    if since is not None:
        kind = shapes.word(shapes.first(node, "node_type", "_node_type"))
        metrics.record("dify.node.queue.duration", perf_counter() - since, {"dify.node.type": kind})


READY = Tap(before=_ready)
STARTED = Tap(before=_started)


# --- gauges over the engines that run

_pools: dict[int, ref[Any]] = {}


def _pool_started(arguments: Mapping[str, Any], result: Any, enclosing: Any) -> None:
    pool = arguments["self"]
    key = id(pool)
    _pools[key] = ref(pool, lambda gone: _forget(key, gone))


def _forget(key: int, gone: ref[Any]) -> None:
    if _pools.get(key) is gone:  # the id may belong to another pool by now
        del _pools[key]


def _running() -> list[Any]:
    """The pools that have workers: `stop` takes them away."""
    # Made from a list, which is one step: the export's thread asks while engines start and end.
    return [pool for held in list(_pools.values()) if (pool := held()) is not None and pool._workers]


def workers() -> float:
    """Worker threads of all engines that run in this process."""
    return float(sum(len(pool._workers) for pool in _running()))


def ready_nodes() -> float:
    """Nodes that wait for a worker in all engines that run in this process."""
    return float(sum(pool._ready_queue.qsize() for pool in _running()))


def watched(function: Callable[..., Any]) -> Callable[..., Any]:
    """`WorkerPool.start`, which begins to count its workers; where no engine is ever loaded, there are no gauges."""
    from .core import wrapper  # loads OpenTelemetry: not before Dify runs

    metrics.observe("dify.graph_engine.workers", workers)
    metrics.observe("dify.graph_engine.ready_queue.size", ready_nodes)
    return wrapper.tap(function, Tap(after=_pool_started))
