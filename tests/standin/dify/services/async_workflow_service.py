from typing import Any

from sqlalchemy.orm import Session

from models.account import Account
from models.model import EndUser


class AsyncWorkflowService:
    @classmethod
    def trigger_workflow_async(cls, user: Account | EndUser, trigger_data: Any, *, session: Session) -> Any:
        from tasks.async_workflow_tasks import execute_workflow_sandbox

        session.commit()
        return execute_workflow_sandbox.delay({**trigger_data, "user_id": user.id})
