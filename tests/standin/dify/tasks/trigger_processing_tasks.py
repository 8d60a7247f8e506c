"""A plugin's event starts a run of every workflow that subscribed to it."""

from collections.abc import Mapping
from typing import Any

from celery import shared_task
from sqlalchemy import select

from core.db.session_factory import session_factory
from models.model import EndUser
from models.trigger import WorkflowPluginTrigger
from services.async_workflow_service import AsyncWorkflowService
from services.workflow.entities import PluginTriggerData


@shared_task(queue="triggered_workflow_dispatcher")
def dispatch_triggered_workflows_async(dispatch_data: Mapping[str, Any]) -> Mapping[str, Any]:
    with session_factory.create_session() as session:
        triggers = list(
            session.scalars(
                select(WorkflowPluginTrigger).where(
                    WorkflowPluginTrigger.subscription_id == dispatch_data["subscription_id"]
                )
            )
        )
        user = session.scalar(select(EndUser).where(EndUser.session_id == "trigger-user"))
    if user is None:
        raise ValueError("no end user for triggers")
    for trigger in triggers:
        with session_factory.create_session() as session:
            AsyncWorkflowService.trigger_workflow_async(
                session=session,
                user=user,
                trigger_data=PluginTriggerData(
                    app_id=trigger.app_id,
                    tenant_id=trigger.tenant_id,
                    root_node_id=trigger.node_id,
                    plugin_id=trigger.provider_id,
                    endpoint_id=dispatch_data["endpoint_id"],
                    inputs=dispatch_data["variables"],
                ),
            )
    return {"dispatched_count": len(triggers)}
