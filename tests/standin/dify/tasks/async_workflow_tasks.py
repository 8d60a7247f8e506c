"""Triggered runs (webhook, schedule, plugin): no request waits for them."""

from typing import Any

from celery import shared_task

from core.app.apps.workflow.app_generator import WorkflowAppGenerator
from core.app.entities.app_invoke_entities import InvokeFrom
from core.db.session_factory import session_factory
from models.account import Account
from models.model import App, EndUser
from models.workflow import Workflow
from services.workflow.entities import TriggerData


@shared_task(queue="workflow")
def execute_workflow_sandbox(task_data_dict: dict[str, Any]) -> None:
    trigger_data = TriggerData.model_validate(task_data_dict["trigger_data"])
    user_id = task_data_dict["user_id"]
    with session_factory.create_session() as session:
        app = session.get(App, trigger_data.app_id)
        user = session.get(EndUser, user_id) or session.get(Account, user_id)
        workflow = session.get(Workflow, app.workflow_id) if app else None
        session.expunge_all()
    if app is None or user is None or workflow is None:
        raise ValueError("app, user or workflow not found")
    WorkflowAppGenerator().generate(
        app_model=app,
        workflow=workflow,
        user=user,
        args={"inputs": dict(trigger_data.inputs), "files": list(trigger_data.files)},
        invoke_from=InvokeFrom.SERVICE_API,
        streaming=False,
        call_depth=0,
        triggered_from=trigger_data.trigger_from,
        root_node_id=trigger_data.root_node_id,
    )
