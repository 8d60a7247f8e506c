"""Triggered runs (webhook, schedule, plugin): no request waits for them."""

from typing import Any

from celery import shared_task

from core.app.apps.workflow.app_generator import WorkflowAppGenerator
from core.app.entities.app_invoke_entities import InvokeFrom
from core.db.session_factory import session_factory
from models.enums import WorkflowRunTriggeredFrom
from models.model import App, EndUser
from models.workflow import Workflow


@shared_task(queue="workflow")
def execute_workflow_sandbox(task_data_dict: dict[str, Any]) -> None:
    with session_factory.create_session() as session:
        app = session.get(App, task_data_dict["app_id"])
        user = session.get(EndUser, task_data_dict["user_id"])
        workflow = session.get(Workflow, app.workflow_id) if app else None
        session.expunge_all()
    if app is None or user is None or workflow is None:
        raise ValueError("app, user or workflow not found")
    WorkflowAppGenerator().generate(
        app_model=app,
        workflow=workflow,
        user=user,
        args={"inputs": task_data_dict["inputs"], "files": []},
        invoke_from=InvokeFrom.SERVICE_API,
        streaming=False,
        triggered_from=WorkflowRunTriggeredFrom.WEBHOOK,
    )
