from core.app.apps.workflow_app_runner import WorkflowBasedAppRunner
from core.workflow.workflow_entry import WorkflowEntry


class WorkflowAppRunner(WorkflowBasedAppRunner):
    def __init__(self, *, application_generate_entity, queue_manager, variable_loader, workflow, system_user_id):
        super().__init__(queue_manager=queue_manager, variable_loader=variable_loader)
        self.application_generate_entity = application_generate_entity
        self._workflow = workflow
        self._sys_user_id = system_user_id

    def run(self):
        entity = self.application_generate_entity
        workflow_entry = WorkflowEntry(self._workflow, entity.user_id, entity.invoke_from.value, entity.call_depth)
        for event in workflow_entry.run():
            self._handle_event(workflow_entry, event)
