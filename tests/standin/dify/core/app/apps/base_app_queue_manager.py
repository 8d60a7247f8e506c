"""The queue between producer thread and response pipeline; a run's owner and stop flag live in Redis."""

import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Generator
from enum import IntEnum, auto
from typing import Any

from graphon.graph_engine.manager import GraphEngineManager
from graphon.runtime import GraphRuntimeState

from configs import dify_config
from core.app.entities.app_invoke_entities import InvokeFrom
from core.app.entities.queue_entities import AppQueueEvent, QueueErrorEvent, QueuePingEvent, QueueStopEvent
from extensions.ext_redis import redis_client


class PublishFrom(IntEnum):
    APPLICATION_MANAGER = auto()
    TASK_PIPELINE = auto()


class AppQueueManager(ABC):
    def __init__(self, task_id: str, user_id: str, invoke_from: InvokeFrom):
        if not user_id:
            raise ValueError("user is required")
        self._task_id = task_id
        self._user_id = user_id
        self._invoke_from = invoke_from
        self.invoke_from = invoke_from
        owner = "account" if invoke_from.runs_as_account() else "end-user"
        self._task_belong_cache_key = self._generate_task_belong_cache_key(task_id)
        redis_client.setex(self._task_belong_cache_key, 1800, f"{owner}-{user_id}")
        self._q: queue.Queue[Any] = queue.Queue()
        self._graph_runtime_state: GraphRuntimeState | None = None
        self._stopped_checked_at = 0.0
        self._stopped = False
        self._execution_terminal = threading.Event()
        self._abort_sent = threading.Event()
        self._lifecycle_lock = threading.Lock()

    def listen(self) -> Generator[Any, None, None]:
        started = time.monotonic()
        pinged = 0.0
        try:
            while True:
                try:
                    message = self._q.get(timeout=1)
                    if message is None:
                        break
                    yield message
                except queue.Empty:
                    continue
                finally:
                    elapsed = time.monotonic() - started
                    timed_out = elapsed >= dify_config.APP_MAX_EXECUTION_TIME
                    if not self._execution_terminal.is_set() and (timed_out or self._is_stopped()):
                        self._abort_execution("execution time exceeded" if timed_out else "App task was stopped")
                        self.publish(
                            QueueStopEvent(stopped_by=QueueStopEvent.StopBy.USER_MANUAL), PublishFrom.TASK_PIPELINE
                        )
                    if elapsed // 10 > pinged:
                        self.publish(QueuePingEvent(), PublishFrom.TASK_PIPELINE)
                        pinged = elapsed // 10
        finally:
            if not self._execution_terminal.is_set():
                self._abort_execution("Client response stream closed before app execution completed")
            self._graph_runtime_state = None

    def stop_listen(self, *, execution_terminal: bool = False) -> None:
        if execution_terminal:
            self._execution_terminal.set()
        redis_client.delete(self._task_belong_cache_key)
        self._q.put(None)

    def _abort_execution(self, reason: str) -> None:
        with self._lifecycle_lock:
            if self._execution_terminal.is_set() or self._abort_sent.is_set():
                return
            self._abort_sent.set()
        self.set_stop_flag_no_user_check(self._task_id)
        GraphEngineManager(redis_client).send_stop_command(self._task_id, reason=reason)

    def publish_error(self, e: Exception, pub_from: PublishFrom) -> None:
        self.publish(QueueErrorEvent(error=e), pub_from)

    @property
    def graph_runtime_state(self) -> GraphRuntimeState | None:
        return self._graph_runtime_state

    @graph_runtime_state.setter
    def graph_runtime_state(self, graph_runtime_state: GraphRuntimeState | None) -> None:
        self._graph_runtime_state = graph_runtime_state

    def publish(self, event: AppQueueEvent, pub_from: PublishFrom) -> None:
        event.model_dump()
        self._publish(event, pub_from)

    def is_stopped(self) -> bool:
        return self._is_stopped()

    @abstractmethod
    def _publish(self, event: AppQueueEvent, pub_from: PublishFrom) -> None:
        raise NotImplementedError

    @classmethod
    def set_stop_flag_no_user_check(cls, task_id: str) -> None:
        redis_client.setex(cls._generate_stopped_cache_key(task_id), 600, 1)

    def _is_stopped(self) -> bool:
        now = time.monotonic()
        if now - self._stopped_checked_at >= 1:
            self._stopped_checked_at = now
            self._stopped = redis_client.get(self._generate_stopped_cache_key(self._task_id)) is not None
        return self._stopped

    @classmethod
    def _generate_task_belong_cache_key(cls, task_id: str) -> str:
        return f"generate_task_belong:{task_id}"

    @classmethod
    def _generate_stopped_cache_key(cls, task_id: str) -> str:
        return f"generate_task_stopped:{task_id}"
