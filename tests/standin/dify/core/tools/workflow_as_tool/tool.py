"""A published workflow as a tool: a nested, blocking run in the caller's thread."""

import json
from collections.abc import Generator
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.app.entities.app_invoke_entities import InvokeFrom
from core.db.session_factory import session_factory
from core.tools.__base.tool import Tool
from core.tools.__base.tool_runtime import ToolRuntime
from core.tools.entities.tool_entities import ToolEntity, ToolInvokeMessage, ToolProviderType
from core.tools.errors import ToolInvokeError
from models.model import App, EndUser
from models.workflow import Workflow


class WorkflowTool(Tool):
    def __init__(self, workflow_app_id: str, entity: ToolEntity, runtime: ToolRuntime, workflow_call_depth: int = 0):
        self.workflow_app_id = workflow_app_id
        self.workflow_call_depth = workflow_call_depth
        super().__init__(entity=entity, runtime=runtime)

    def tool_provider_type(self) -> ToolProviderType:
        return ToolProviderType.WORKFLOW

    def _invoke(
        self,
        session: Session,
        user_id: str,
        tool_parameters: dict[str, Any],
        conversation_id: str | None = None,
        app_id: str | None = None,
        message_id: str | None = None,
    ) -> Generator[ToolInvokeMessage, None, None]:
        from core.app.apps.workflow.app_generator import WorkflowAppGenerator

        with session_factory.create_session() as read_session:
            app = read_session.get(App, self.workflow_app_id)
            workflow = read_session.scalar(
                select(Workflow).where(Workflow.app_id == self.workflow_app_id, Workflow.version != "draft")
            )
            user = read_session.get(EndUser, user_id)
            read_session.expunge_all()
        if app is None or workflow is None or user is None:
            raise ToolInvokeError("workflow app not found")
        result = WorkflowAppGenerator().generate(
            app_model=app,
            workflow=workflow,
            user=user,
            args={"inputs": tool_parameters, "files": []},
            invoke_from=self.runtime.invoke_from or InvokeFrom.SERVICE_API,
            streaming=False,
            call_depth=self.workflow_call_depth + 1,
        )
        data = result["data"]
        if data.get("error"):
            raise ToolInvokeError(data["error"])
        outputs = data.get("outputs") or {}
        yield self.create_text_message(json.dumps(outputs, ensure_ascii=False))
        yield self.create_json_message(outputs)
