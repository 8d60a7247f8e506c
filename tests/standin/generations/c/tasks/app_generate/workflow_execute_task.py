"""In place of Celery: `delay` runs the task in a thread without the caller's context."""

import threading

from core.app.apps.advanced_chat.app_generator import AdvancedChatAppGenerator
from core.app.apps.message_based_app_generator import MessageBasedAppGenerator
from core.app.apps.workflow.app_generator import WorkflowAppGenerator

PAYLOADS: dict = {}


class _Task:
    def __init__(self, function):
        self.run = function
        self.__wrapped__ = function

    def __call__(self, *args):
        return self.run(*args)

    def delay(self, *args):
        thread = threading.Thread(target=self.run, args=args)
        thread.start()
        return thread


def _publish_streaming_response(response_stream, workflow_run_id, app_mode):
    topic = MessageBasedAppGenerator.get_response_topic(app_mode, workflow_run_id)
    try:
        for event in response_stream:
            topic.put(event)
    finally:
        topic.put(None)


@_Task
def workflow_based_app_execution_task(payload):
    params = PAYLOADS.pop(payload)
    kind = AdvancedChatAppGenerator if params["app_model"].mode == "advanced-chat" else WorkflowAppGenerator
    response = kind().generate(**params, streaming=True)
    _publish_streaming_response(response, params["workflow_run_id"], params["app_model"].mode)
