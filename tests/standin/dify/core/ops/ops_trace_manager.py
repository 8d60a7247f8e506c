"""Dify's after-the-fact tracing: tasks are queued in memory and handed to Celery by an endless chain of timers."""

import logging
import queue
import threading
from enum import StrEnum
from typing import Any

from flask import current_app

logger = logging.getLogger(__name__)
trace_manager_timer: threading.Timer | None = None
trace_manager_queue: "queue.Queue[TraceTask]" = queue.Queue()
trace_manager_interval = 5
trace_manager_batch_size = 100


class TraceTaskName(StrEnum):
    CONVERSATION_TRACE = "conversation"
    WORKFLOW_TRACE = "workflow"
    MESSAGE_TRACE = "message"
    MODERATION_TRACE = "moderation"
    SUGGESTED_QUESTION_TRACE = "suggested_question"
    DATASET_RETRIEVAL_TRACE = "dataset_retrieval"
    TOOL_TRACE = "tool"
    GENERATE_NAME_TRACE = "generate_conversation_name"


class TraceTask:
    def __init__(
        self,
        trace_type: Any,
        message_id: str | None = None,
        workflow_execution: Any = None,
        conversation_id: str | None = None,
        user_id: str | None = None,
        timer: Any | None = None,
        **kwargs: Any,
    ):
        self.trace_type = trace_type
        self.message_id = message_id
        self.workflow_run_id = workflow_execution.id_ if workflow_execution else None
        self.conversation_id = conversation_id
        self.user_id = user_id
        self.timer = timer
        self.kwargs = kwargs
        self.app_id: str | None = None


class OpsTraceManager:
    @classmethod
    def get_ops_trace_instance(cls, app_id: str | None = None) -> Any:
        from core.db.session_factory import session_factory
        from models.model import App

        with session_factory.create_session() as session:
            session.get(App, app_id)
        return None


class TraceQueueManager:
    def __init__(self, app_id: str | None = None, user_id: str | None = None):
        self.app_id = app_id
        self.user_id = user_id
        self.trace_instance = OpsTraceManager.get_ops_trace_instance(app_id)
        self.flask_app = current_app._get_current_object()  # type: ignore[attr-defined]
        if trace_manager_timer is None:
            self.start_timer()

    def add_trace_task(self, trace_task: TraceTask) -> None:
        try:
            if self.trace_instance:
                trace_task.app_id = self.app_id
                trace_manager_queue.put(trace_task)
        finally:
            self.start_timer()

    def collect_tasks(self) -> list[TraceTask]:
        tasks: list[TraceTask] = []
        while len(tasks) < trace_manager_batch_size and not trace_manager_queue.empty():
            tasks.append(trace_manager_queue.get_nowait())
        return tasks

    def run(self) -> None:
        try:
            tasks = self.collect_tasks()
            if tasks:
                self.send_to_celery(tasks)
        except Exception:
            logger.exception("Error processing trace tasks")

    def start_timer(self) -> None:
        global trace_manager_timer
        if trace_manager_timer is None or not trace_manager_timer.is_alive():
            trace_manager_timer = threading.Timer(trace_manager_interval, self.run)
            trace_manager_timer.name = "trace_manager_timer"
            trace_manager_timer.daemon = False
            trace_manager_timer.start()

    def send_to_celery(self, tasks: list[TraceTask]) -> None:
        from tasks.ops_trace_task import process_trace_tasks

        with self.flask_app.app_context():
            for task in tasks:
                process_trace_tasks.delay({"app_id": task.app_id, "trace_type": str(task.trace_type)})
