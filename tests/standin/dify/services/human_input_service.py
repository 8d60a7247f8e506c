"""A filled form brings its paused run back, in the worker."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from models.workflow import WorkflowPause


class HumanInputService:
    def __init__(self, session_factory: sessionmaker[Session], form_repository: Any = None) -> None:
        self._session_factory = session_factory

    def submit_form_by_token(
        self,
        recipient_type: str,
        form_token: str,
        selected_action_id: str,
        form_data: Mapping[str, Any],
        submission_end_user_id: str | None = None,
        submission_user_id: str | None = None,
    ) -> None:
        with self._session_factory() as session:
            pause = session.scalar(select(WorkflowPause).where(WorkflowPause.form_token == form_token))
        if pause is None:
            raise ValueError("form not found")
        self.enqueue_resume(pause.workflow_run_id)

    def enqueue_resume(self, workflow_run_id: str) -> None:
        from tasks.app_generate.workflow_execute_task import resume_app_execution

        resume_app_execution.apply_async(kwargs={"payload": {"workflow_run_id": workflow_run_id}})
