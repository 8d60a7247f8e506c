from celery import shared_task

from core.db.session_factory import session_factory
from models.account import Account
from models.trigger import WorkflowSchedulePlan
from services.async_workflow_service import AsyncWorkflowService
from services.workflow.entities import ScheduleTriggerData


@shared_task(queue="schedule_executor")
def run_schedule_trigger(schedule_id: str) -> None:
    with session_factory.create_session() as session:
        schedule = session.get(WorkflowSchedulePlan, schedule_id)
        owner = session.query(Account).first()
    if schedule is None or owner is None:
        raise ValueError(f"Schedule {schedule_id} not found")
    with session_factory.create_session() as session:
        AsyncWorkflowService.trigger_workflow_async(
            session=session,
            user=owner,
            trigger_data=ScheduleTriggerData(
                app_id=schedule.app_id,
                root_node_id=schedule.node_id,
                inputs=schedule.inputs,
                tenant_id=schedule.tenant_id,
            ),
        )
