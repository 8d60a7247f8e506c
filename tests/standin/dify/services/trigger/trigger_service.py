from typing import Any

from flask import Request, Response
from sqlalchemy import select

from core.db.session_factory import session_factory
from models.trigger import WorkflowPluginTrigger


class TriggerService:
    @classmethod
    def process_endpoint(cls, endpoint_id: str, request: Request) -> Response | None:
        from tasks.trigger_processing_tasks import dispatch_triggered_workflows_async

        with session_factory.create_session() as session:
            trigger = session.scalar(
                select(WorkflowPluginTrigger).where(WorkflowPluginTrigger.endpoint_id == endpoint_id)
            )
        if trigger is None:
            return None
        data: dict[str, Any] = {
            "tenant_id": trigger.tenant_id,
            "endpoint_id": endpoint_id,
            "provider_id": trigger.provider_id,
            "subscription_id": trigger.subscription_id,
            "variables": request.get_json(silent=True) or {},
        }
        dispatch_triggered_workflows_async.delay(data)
        return Response(status=200, response="accepted")
