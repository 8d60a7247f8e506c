"""The one place where a trigger becomes a run: it is queued, and this returns."""

from typing import Any

from sqlalchemy.orm import Session

from models.account import Account
from models.model import EndUser
from services.workflow.entities import TriggerData


class AsyncWorkflowService:
    @classmethod
    def trigger_workflow_async(cls, user: Account | EndUser, trigger_data: TriggerData, *, session: Session) -> Any:
        from tasks.async_workflow_tasks import execute_workflow_sandbox

        session.commit()
        return execute_workflow_sandbox.delay(
            {"trigger_data": trigger_data.model_dump(mode="json"), "user_id": user.id}
        )
