"""The engine's queue and workers: waits by node type, bounded and kept with the queue; gauges over live engines only.

The real engines, old and new, are in `tests/graphon`; here is what they do not show on purpose: a backlog, a queue that
grows, a task drained and put again, an export during changes.
"""

from __future__ import annotations

import gc
import queue
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
from dify_otel_instrumentors import engine, model
from dify_otel_instrumentors.core import metrics, wrapper

WAIT = "dify.node.queue.duration"


class Node:
    def __init__(self, node_id: str, node_type: str) -> None:
        self.id = node_id
        self.node_type = node_type


class StartTask:
    """As from graphon 0.7 on."""

    def __init__(self, frame_id: str, node_id: str) -> None:
        self.frame_id = frame_id
        self.node_id = node_id


class ResumeTask:
    def __init__(self) -> None:
        self.invocation_id = "i"
        self.result = [1]


class Queue:
    def __init__(self) -> None:
        self._queue: queue.Queue[Any] = queue.Queue()

    def put(self, item: Any) -> None:
        self._queue.put(item)

    def qsize(self) -> int:
        return self._queue.qsize()


class Worker:
    def __init__(self, ready_queue: Queue) -> None:
        self._ready_queue = ready_queue

    def _execute_node(self, node: Node) -> str:
        return node.id


class FrameWorker(Worker):
    def _execute_node(self, *, frame_id: str, node: Node) -> str:  # type: ignore[override]
        return f"{frame_id} {node.id}"


class Pool:
    def __init__(self) -> None:
        self._ready_queue = Queue()
        self._workers: list[Any] = []

    def start(self, initial_count: int = 2) -> None:
        self._workers += range(initial_count)


@pytest.fixture(autouse=True)
def wrapped(monkeypatch: Any) -> None:
    monkeypatch.setattr(Queue, "put", wrapper.tap(Queue.put, engine.READY))
    for worker in (Worker, FrameWorker):
        monkeypatch.setattr(worker, "_execute_node", wrapper.tap(worker._execute_node, engine.STARTED))
    monkeypatch.setattr(Pool, "start", engine.watched(Pool.start))
    monkeypatch.setattr(engine, "_pools", {})
    monkeypatch.setattr(metrics, "_sources", dict(metrics._sources))


@pytest.fixture
def clock(monkeypatch: Any) -> Any:
    now = [100.0]
    monkeypatch.setattr(engine, "perf_counter", lambda: now[0])
    return now


def waits(recorded: Any) -> dict[Any, tuple[int, float]]:
    return {p.attributes["dify.node.type"]: (p.count, p.sum) for p in recorded.points(WAIT)}


def test_a_node_waits_from_put_to_its_worker(recorded: Any, clock: Any) -> None:
    ready = Queue()
    ready.put("a")
    clock[0] += 2
    ready.put("b")
    clock[0] += 1
    assert Worker(ready)._execute_node(Node("a", "llm")) == "a"
    clock[0] += 4
    Worker(ready)._execute_node(Node("b", "code"))
    assert waits(recorded) == {"llm": (1, 3.0), "code": (1, 5.0)}


def test_the_same_node_in_two_frames_waits_twice(recorded: Any, clock: Any) -> None:
    ready = Queue()
    ready.put(StartTask("f1", "a"))
    clock[0] += 2
    ready.put(StartTask("f2", "a"))
    worker = FrameWorker(ready)
    assert worker._execute_node(frame_id="f2", node=Node("a", "llm")) == "f2 a"
    worker._execute_node(frame_id="f1", node=Node("a", "llm"))
    assert waits(recorded) == {"llm": (2, 2.0)}


def test_what_resumes_is_no_start_and_an_unknown_node_is_none(recorded: Any) -> None:
    ready = Queue()
    ready.put(ResumeTask())
    Worker(ready)._execute_node(Node("restored from a pause", "llm"))
    assert not recorded.points(WAIT)
    assert not vars(ready).get(engine._WAITING)


def test_a_task_that_was_drained_waits_from_its_second_put(recorded: Any, clock: Any) -> None:
    ready = Queue()
    ready.put("a")
    ready._queue.get()
    clock[0] += 3600
    ready.put("a")
    clock[0] += 1
    Worker(ready)._execute_node(Node("a", "llm"))
    assert waits(recorded) == {"llm": (1, 1.0)}


def test_a_queue_remembers_so_many_nodes_and_dies_with_them(recorded: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(engine, "WAITING_MAX", 5)
    ready = Queue()
    for n in range(50):
        ready.put(str(n))
    assert ready.qsize() == 50
    assert len(vars(ready)[engine._WAITING]) == 5
    gone = weakref.ref(ready)
    del ready
    gc.collect()
    assert gone() is None


def test_without_a_meter_nothing_is_kept() -> None:
    metrics.configure(None)
    ready = Queue()
    ready.put("a")
    assert engine._WAITING not in vars(ready)
    assert Worker(ready)._execute_node(Node("a", "llm")) == "a"


@pytest.mark.usefixtures("recorded")
def test_a_broken_engine_is_not_our_affair(quiet_guard: Any) -> None:
    class Slotted:
        __slots__ = ("items",)

        def put(self, item: Any) -> None:
            self.items = [item]

    put = wrapper.tap(Slotted.put, engine.READY)
    ready = Slotted()
    put(ready, "a")
    assert ready.items == ["a"]
    assert quiet_guard.counts()


def gauges(recorded: Any) -> tuple[list[float], list[float]]:
    return (
        [p.value for p in recorded.points("dify.graph_engine.workers")],
        [p.value for p in recorded.points("dify.graph_engine.ready_queue.size")],
    )


def test_gauges_sum_over_the_engines_that_run(recorded: Any) -> None:
    assert gauges(recorded) == ([0.0], [0.0])
    first, second = Pool(), Pool()
    first.start()
    second.start(initial_count=3)
    for n in range(7):
        second._ready_queue.put(str(n))
    assert gauges(recorded) == ([5.0], [7.0])
    second._workers.clear()  # stopped; a paused run leaves its nodes in the queue
    assert gauges(recorded) == ([2.0], [0.0])
    first._workers.append("scaled up")
    assert gauges(recorded)[0] == [3.0]


@pytest.mark.usefixtures("recorded")
def test_an_engine_is_not_kept_alive() -> None:
    pools = [Pool() for _ in range(20)]
    for pool in pools:
        pool.start()
        pool.start()
    assert engine.workers() == 80
    assert len(engine._pools) == 20
    del pool, pools
    gc.collect()
    assert engine._pools == {}
    assert engine.workers() == 0


@pytest.mark.usefixtures("recorded")
def test_an_export_while_engines_come_and_go() -> None:
    over = threading.Event()
    failed: list[BaseException] = []

    def come_and_go() -> None:
        while not over.is_set():
            pools = [Pool() for _ in range(50)]
            for pool in pools:
                pool.start()

    def export() -> None:
        try:
            for _ in range(3000):
                assert engine.workers() >= 0
                assert engine.ready_nodes() >= 0
        except BaseException as error:
            failed.append(error)

    busy = threading.Thread(target=come_and_go)
    asking = threading.Thread(target=export)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        busy.start()
        asking.start()
        asking.join(60)
    finally:
        over.set()
        busy.join(60)
        sys.setswitchinterval(interval)
    assert not failed
    assert not asking.is_alive()


def test_a_credential_put_aside_is_counted(recorded: Any) -> None:
    class LBModelManager:
        def __init__(self) -> None:
            self._tenant_id = "tenant"
            self._provider = "langgenius/azure_openai/azure_openai"
            self._model = "gpt-4o"

        def cooldown(self, config: Any, expire: int = 60) -> None:
            self.last = (config, expire)

    cooldown = wrapper.tap(LBModelManager.cooldown, model.PUT_ASIDE)
    balancer = LBModelManager()
    cooldown(balancer, "a")
    cooldown(balancer, "b", expire=10)
    assert balancer.last == ("b", 10)
    (point,) = recorded.points("dify.model.load_balancing.switches")
    assert point.value == 2
    assert dict(point.attributes) == {
        "gen_ai.provider.name": "azure.ai.openai",
        "gen_ai.request.model": "gpt-4o",
    }


@pytest.mark.usefixtures("recorded")
def test_a_cooldown_that_failed_fails_as_before() -> None:
    def cooldown(self: Any, config: Any, expire: int = 60) -> None:
        raise ConnectionError("redis")

    with pytest.raises(ConnectionError):
        wrapper.tap(cooldown, model.PUT_ASIDE)(object(), "a")


def test_the_files_load_without_opentelemetry() -> None:
    """The seam table is read before gevent has patched."""
    program = (
        "import sys; from dify_otel_instrumentors import engine, plugin;"
        "print([m for m in sys.modules if m.startswith('opentelemetry')])"
    )
    roots = [str(Path(__file__).resolve().parents[2] / "instrumentors")]
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": roots[0]}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
