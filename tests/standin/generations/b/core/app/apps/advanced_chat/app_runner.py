from core.app.apps.workflow_app_runner import WorkflowBasedAppRunner
from core.workflow.workflow_entry import WorkflowEntry


class AdvancedChatAppRunner(WorkflowBasedAppRunner):
    def __init__(
        self,
        *,
        application_generate_entity,
        queue_manager,
        conversation,
        message,
        dialogue_count,
        variable_loader,
        workflow,
        system_user_id,
        app,
    ):
        super().__init__(queue_manager=queue_manager, variable_loader=variable_loader)
        self.application_generate_entity = application_generate_entity
        self.conversation = conversation
        self.message = message
        self._dialogue_count = dialogue_count
        self._workflow = workflow
        self.system_user_id = system_user_id
        self._app = app

    def run(self):
        entity = self.application_generate_entity
        workflow_entry = WorkflowEntry(self._workflow, entity.user_id, entity.invoke_from.value)
        for event in workflow_entry.run():
            self._handle_event(workflow_entry, event)
