import threading
import uuid

from core.app.apps.advanced_chat.app_generator import AdvancedChatAppGenerator
from core.app.apps.agent_chat.app_generator import AgentChatAppGenerator
from core.app.apps.base_app_generator import BaseAppGenerator
from core.app.apps.chat.app_generator import ChatAppGenerator
from core.app.apps.completion.app_generator import CompletionAppGenerator
from core.app.apps.message_based_app_generator import MessageBasedAppGenerator
from core.app.apps.workflow.app_generator import WorkflowAppGenerator
from core.app.features.rate_limiting.rate_limit import RateLimit
from extensions.otel.decorators.base import trace_span
from tasks.app_generate.workflow_execute_task import PAYLOADS, workflow_based_app_execution_task

SIMPLE = {
    "chat": ChatAppGenerator,
    "completion": CompletionAppGenerator,
    "agent-chat": AgentChatAppGenerator,
}
PUBLISHED: dict = {}
"""Workflow of each application id."""


class AppGenerateService:
    @staticmethod
    def _build_streaming_task_on_subscribe(start_task):
        started = False
        lock = threading.Lock()

        def _try_start():
            nonlocal started
            with lock:
                if not started:
                    started = True
                    start_task()

        timer = threading.Timer(0.2, _try_start)
        timer.daemon = True
        timer.start()

        def _on_subscribe():
            _try_start()
            timer.cancel()

        return _on_subscribe

    @classmethod
    @trace_span()
    def generate(cls, app_model, user, args, invoke_from, streaming=True, root_node_id=None):
        rate_limit, request_id = RateLimit(app_model.id, 0), "request-1"
        common = {"app_model": app_model, "user": user, "args": args, "invoke_from": invoke_from}
        simple = SIMPLE.get(app_model.mode)
        if simple is not None:
            return rate_limit.generate(
                BaseAppGenerator.convert_to_event_stream(simple().generate(**common, streaming=streaming)),
                request_id,
            )
        workflow = PUBLISHED[app_model.id]
        if streaming:
            run_id = str(uuid.uuid4())
            PAYLOADS[run_id] = {**common, "workflow": workflow, "workflow_run_id": run_id}
            on_subscribe = cls._build_streaming_task_on_subscribe(
                lambda: workflow_based_app_execution_task.delay(run_id)
            )
            return rate_limit.generate(
                BaseAppGenerator.convert_to_event_stream(
                    MessageBasedAppGenerator.retrieve_events(app_model.mode, run_id, on_subscribe=on_subscribe)
                ),
                request_id,
            )
        extra = {"workflow_run_id": str(uuid.uuid4())}
        kind = AdvancedChatAppGenerator if app_model.mode == "advanced-chat" else WorkflowAppGenerator
        return rate_limit.generate(
            BaseAppGenerator.convert_to_event_stream(
                kind().generate(**common, workflow=workflow, streaming=streaming, **extra)
            ),
            request_id,
        )

    @classmethod
    def generate_single_iteration(cls, app_model, user, node_id, args, streaming=True):
        raise NotImplementedError

    @classmethod
    def generate_single_loop(cls, app_model, user, node_id, args, streaming=True):
        raise NotImplementedError

    @classmethod
    def generate_more_like_this(cls, app_model, user, message_id, invoke_from, streaming=True):
        return CompletionAppGenerator().generate_more_like_this(
            app_model=app_model, message_id=message_id, user=user, invoke_from=invoke_from, stream=streaming
        )
