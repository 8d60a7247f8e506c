"""What a human-input node asks: is the form filled? The answer lives in `workflow_pauses`."""

from graphon.nodes.human_input.entities import Completed, HITLContext, HITLDecision, PauseRequested
from sqlalchemy import select

from core.db.session_factory import session_factory
from models.workflow import WorkflowPause


class DifyHITLCallback:
    def __call__(self, context: HITLContext) -> HITLDecision:
        with session_factory.create_session() as session:
            pause = session.scalar(
                select(WorkflowPause).where(WorkflowPause.workflow_run_id == context.workflow_execution_id)
            )
        if pause is None or pause.resumed_at is None:
            return PauseRequested(session_id=context.workflow_execution_id)
        return Completed(selected_handle="approve", inputs={}, outputs={})
