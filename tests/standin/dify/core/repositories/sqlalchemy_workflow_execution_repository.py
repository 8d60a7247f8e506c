"""Workflow and node executions into their tables: a SELECT and an INSERT or UPDATE a save."""

import json
from collections.abc import Mapping
from typing import Any

from graphon.entities.workflow_execution import WorkflowExecution
from graphon.entities.workflow_node_execution import WorkflowNodeExecution
from graphon.workflow_type_encoder import WorkflowRuntimeTypeConverter
from sqlalchemy.orm import Session, sessionmaker

from models.account import Account
from models.enums import CreatorUserRole
from models.model import EndUser
from models.workflow import WorkflowNodeExecutionModel, WorkflowRun


def to_json(value: Mapping[str, Any] | None) -> str | None:
    if value is None:
        return None
    return json.dumps(WorkflowRuntimeTypeConverter().to_json_encodable(dict(value)), default=str)


class SQLAlchemyWorkflowExecutionRepository:
    def __init__(
        self,
        session_factory: sessionmaker[Session],
        tenant_id: str,
        user: Account | EndUser,
        app_id: str | None,
        triggered_from: Any,
    ):
        self._session_factory = session_factory
        self._tenant_id = tenant_id
        self._app_id = app_id or ""
        self._triggered_from = triggered_from
        self._creator_user_id = user.id
        self._creator_user_role = CreatorUserRole.ACCOUNT if isinstance(user, Account) else CreatorUserRole.END_USER

    def save(self, execution: WorkflowExecution) -> None:
        with self._session_factory() as session:
            session.merge(
                WorkflowRun(
                    id=execution.id_,
                    tenant_id=self._tenant_id,
                    app_id=self._app_id,
                    workflow_id=execution.workflow_id,
                    type=execution.workflow_type.value,
                    triggered_from=str(self._triggered_from),
                    version=execution.workflow_version,
                    graph=json.dumps(dict(execution.graph)),
                    inputs=to_json(execution.inputs),
                    status=execution.status.value,
                    outputs=to_json(execution.outputs),
                    error=execution.error_message or None,
                    elapsed_time=execution.elapsed_time,
                    total_tokens=execution.total_tokens,
                    total_steps=execution.total_steps,
                    exceptions_count=execution.exceptions_count,
                    created_by_role=self._creator_user_role.value,
                    created_by=self._creator_user_id,
                    finished_at=execution.finished_at,
                )
            )
            session.commit()


class SQLAlchemyWorkflowNodeExecutionRepository:
    def __init__(
        self,
        session_factory: sessionmaker[Session],
        tenant_id: str,
        user: Account | EndUser,
        app_id: str | None,
        triggered_from: Any,
    ):
        self._session_factory = session_factory
        self._tenant_id = tenant_id
        self._app_id = app_id or ""
        self._triggered_from = triggered_from

    def save(self, execution: WorkflowNodeExecution) -> None:
        with self._session_factory() as session:
            session.merge(
                WorkflowNodeExecutionModel(
                    id=execution.id,
                    tenant_id=self._tenant_id,
                    app_id=self._app_id,
                    workflow_id=execution.workflow_id,
                    triggered_from=str(self._triggered_from),
                    workflow_run_id=execution.workflow_execution_id,
                    index=execution.index,
                    predecessor_node_id=execution.predecessor_node_id,
                    node_execution_id=execution.node_execution_id,
                    node_id=execution.node_id,
                    node_type=str(execution.node_type),
                    title=execution.title,
                    status=execution.status.value,
                    error=execution.error,
                    elapsed_time=execution.elapsed_time,
                    created_at=execution.created_at,
                    finished_at=execution.finished_at,
                )
            )
            session.commit()

    def save_execution_data(self, execution: WorkflowNodeExecution) -> None:
        with self._session_factory() as session:
            row = session.get(WorkflowNodeExecutionModel, execution.id)
            if row is not None:
                row.inputs = to_json(execution.inputs)
                row.process_data = to_json(execution.process_data)
                row.outputs = to_json(execution.outputs)
                metadata = {str(name): value for name, value in (execution.metadata or {}).items()}
                row.execution_metadata = to_json(metadata)
                session.commit()
