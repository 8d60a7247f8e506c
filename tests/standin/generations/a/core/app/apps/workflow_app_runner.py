from core.app.entities.queue_entities import QueueWorkflowEvent


class WorkflowBasedAppRunner:
    def __init__(self, *, queue_manager, variable_loader=None, app_id=""):
        self._queue_manager = queue_manager
        self._variable_loader = variable_loader
        self._app_id = app_id

    def _handle_event(self, workflow_entry, event):
        self._queue_manager.publish(QueueWorkflowEvent(event))
