from core.app.apps.workflow_app_runner import WorkflowBasedAppRunner
from core.workflow.workflow_entry import WorkflowEntry


class AdvancedChatAppRunner(WorkflowBasedAppRunner):
    def __init__(
        self, application_generate_entity, queue_manager, conversation, message, dialogue_count, variable_loader
    ):
        super().__init__(queue_manager=queue_manager, variable_loader=variable_loader)
        self.application_generate_entity = application_generate_entity
        self.conversation = conversation
        self.message = message
        self._dialogue_count = dialogue_count
        self._workflow = None

    def run(self):
        from core.app.apps.workflow.app_generator import WORKFLOWS

        # 1.6.0 loads the workflow inside `run`.
        self._workflow = WORKFLOWS[self.application_generate_entity.app_config.workflow_id]
        entity = self.application_generate_entity
        workflow_entry = WorkflowEntry(self._workflow, entity.user_id, entity.invoke_from.value)
        for event in workflow_entry.run(callbacks=()):
            self._handle_event(workflow_entry, event)
