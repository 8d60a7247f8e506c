from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.app.apps.pipeline.pipeline_generator import PipelineGenerator
from core.app.entities.app_invoke_entities import InvokeFrom
from models.account import Account
from models.dataset import Pipeline
from models.model import EndUser
from models.workflow import Workflow


class PipelineGenerateService:
    @classmethod
    def generate(
        cls,
        pipeline: Pipeline,
        user: Account | EndUser,
        args: Mapping[str, Any],
        invoke_from: InvokeFrom,
        streaming: bool = True,
        *,
        session: Session,
    ) -> Any:
        workflow = session.scalar(select(Workflow).where(Workflow.id == pipeline.workflow_id))
        if workflow is None:
            raise ValueError("Workflow not published")
        return PipelineGenerator.convert_to_event_stream(
            PipelineGenerator().generate(
                session=session,
                pipeline=pipeline,
                workflow=workflow,
                user=user,
                args=args,
                invoke_from=invoke_from,
                streaming=streaming,
                call_depth=0,
                workflow_thread_pool_id=None,
            )
        )
