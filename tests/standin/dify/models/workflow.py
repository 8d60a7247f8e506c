"""Tables of workflows and their runs."""

import json
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from graphon.entities.graph_config import NodeConfigDict, NodeConfigDictAdapter
from graphon.variables.variables import Variable
from sqlalchemy import String, Text, func
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, new_id


class WorkflowType(StrEnum):
    WORKFLOW = "workflow"
    CHAT = "chat"
    RAG_PIPELINE = "rag-pipeline"


class Workflow(Base):
    __tablename__ = "workflows"
    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    tenant_id: Mapped[str] = mapped_column(String(36))
    app_id: Mapped[str] = mapped_column(String(36), index=True)
    type: Mapped[str] = mapped_column(String(255))
    version: Mapped[str] = mapped_column(String(255))
    graph: Mapped[str] = mapped_column(Text)
    features: Mapped[str] = mapped_column(Text, default="{}")
    created_by: Mapped[str] = mapped_column(String(36))
    created_at: Mapped[datetime] = mapped_column(server_default=func.current_timestamp())

    @property
    def graph_dict(self) -> dict[str, Any]:
        return json.loads(self.graph)

    @property
    def features_dict(self) -> dict[str, Any]:
        return json.loads(self.features or "{}")

    @property
    def environment_variables(self) -> Sequence[Variable]:
        return []

    @property
    def conversation_variables(self) -> Sequence[Variable]:
        return []

    def get_node_config_by_id(self, node_id: str) -> NodeConfigDict:
        for node in self.graph_dict["nodes"]:
            if node["id"] == node_id:
                return NodeConfigDictAdapter.validate_python(node)
        raise ValueError(f"Node {node_id} not found")


class WorkflowRun(Base):
    __tablename__ = "workflow_runs"
    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    tenant_id: Mapped[str] = mapped_column(String(36))
    app_id: Mapped[str] = mapped_column(String(36))
    workflow_id: Mapped[str] = mapped_column(String(36))
    type: Mapped[str] = mapped_column(String(255))
    triggered_from: Mapped[str] = mapped_column(String(255))
    version: Mapped[str] = mapped_column(String(255))
    graph: Mapped[str | None] = mapped_column(Text, default=None)
    inputs: Mapped[str | None] = mapped_column(Text, default=None)
    status: Mapped[str] = mapped_column(String(255))
    outputs: Mapped[str | None] = mapped_column(Text, default=None)
    error: Mapped[str | None] = mapped_column(Text, default=None)
    elapsed_time: Mapped[float] = mapped_column(default=0.0)
    total_tokens: Mapped[int] = mapped_column(default=0)
    total_steps: Mapped[int] = mapped_column(default=0)
    exceptions_count: Mapped[int] = mapped_column(default=0)
    created_by_role: Mapped[str] = mapped_column(String(255))
    created_by: Mapped[str] = mapped_column(String(36))
    created_at: Mapped[datetime] = mapped_column(server_default=func.current_timestamp())
    finished_at: Mapped[datetime | None] = mapped_column(default=None)


class WorkflowPause(Base):
    __tablename__ = "workflow_pauses"
    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    workflow_run_id: Mapped[str] = mapped_column(String(36), unique=True)
    form_token: Mapped[str] = mapped_column(String(36), index=True)
    state: Mapped[str] = mapped_column(Text)
    resumed_at: Mapped[datetime | None] = mapped_column(default=None)


class WorkflowNodeExecutionModel(Base):
    __tablename__ = "workflow_node_executions"
    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    tenant_id: Mapped[str] = mapped_column(String(36))
    app_id: Mapped[str] = mapped_column(String(36))
    workflow_id: Mapped[str] = mapped_column(String(36))
    triggered_from: Mapped[str] = mapped_column(String(255))
    workflow_run_id: Mapped[str | None] = mapped_column(String(36), index=True, default=None)
    index: Mapped[int] = mapped_column(default=0)
    predecessor_node_id: Mapped[str | None] = mapped_column(String(255), default=None)
    node_execution_id: Mapped[str | None] = mapped_column(String(255), default=None)
    node_id: Mapped[str] = mapped_column(String(255))
    node_type: Mapped[str] = mapped_column(String(255))
    title: Mapped[str] = mapped_column(String(255), default="")
    inputs: Mapped[str | None] = mapped_column(Text, default=None)
    process_data: Mapped[str | None] = mapped_column(Text, default=None)
    outputs: Mapped[str | None] = mapped_column(Text, default=None)
    status: Mapped[str] = mapped_column(String(255))
    error: Mapped[str | None] = mapped_column(Text, default=None)
    elapsed_time: Mapped[float] = mapped_column(default=0.0)
    execution_metadata: Mapped[str | None] = mapped_column(Text, default=None)
    created_at: Mapped[datetime] = mapped_column(server_default=func.current_timestamp())
    finished_at: Mapped[datetime | None] = mapped_column(default=None)


class WorkflowAppLog(Base):
    __tablename__ = "workflow_app_logs"
    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    tenant_id: Mapped[str] = mapped_column(String(36))
    app_id: Mapped[str] = mapped_column(String(36))
    workflow_id: Mapped[str] = mapped_column(String(36))
    workflow_run_id: Mapped[str] = mapped_column(String(36))
    created_from: Mapped[str] = mapped_column(String(255))
    created_by: Mapped[str] = mapped_column(String(36))
