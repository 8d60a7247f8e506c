"""A webhook's call becomes a run in the worker, and nobody waits for it."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from extensions.ext_database import db
from models.model import EndUser
from models.workflow import Workflow
from services.async_workflow_service import AsyncWorkflowService
from services.workflow.entities import WebhookTriggerData


class WebhookService:
    @classmethod
    def trigger_workflow_execution(cls, webhook_trigger: Any, webhook_data: Any, workflow: Workflow) -> None:
        with Session(db.engine, expire_on_commit=False) as session:
            user = session.scalar(select(EndUser).where(EndUser.session_id == "trigger-user"))
            if user is None:
                raise ValueError("no end user for triggers")
            trigger_data = WebhookTriggerData(
                app_id=webhook_trigger.app_id,
                workflow_id=workflow.id,
                root_node_id=webhook_trigger.node_id,
                inputs=webhook_data,
                tenant_id=webhook_trigger.tenant_id,
            )
            AsyncWorkflowService.trigger_workflow_async(user, trigger_data, session=session)
