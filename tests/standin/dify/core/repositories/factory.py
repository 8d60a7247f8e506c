from typing import Any

from sqlalchemy.orm import Session, sessionmaker

from core.repositories.sqlalchemy_workflow_execution_repository import (
    SQLAlchemyWorkflowExecutionRepository,
    SQLAlchemyWorkflowNodeExecutionRepository,
)

WorkflowExecutionRepository = SQLAlchemyWorkflowExecutionRepository
WorkflowNodeExecutionRepository = SQLAlchemyWorkflowNodeExecutionRepository


class DifyCoreRepositoryFactory:
    @classmethod
    def create_workflow_execution_repository(
        cls, session_factory: sessionmaker[Session], tenant_id: str, user: Any, app_id: str, triggered_from: Any
    ) -> WorkflowExecutionRepository:
        return WorkflowExecutionRepository(session_factory, tenant_id, user, app_id, triggered_from)

    @classmethod
    def create_workflow_node_execution_repository(
        cls, session_factory: sessionmaker[Session], tenant_id: str, user: Any, app_id: str, triggered_from: Any
    ) -> WorkflowNodeExecutionRepository:
        return WorkflowNodeExecutionRepository(session_factory, tenant_id, user, app_id, triggered_from)
