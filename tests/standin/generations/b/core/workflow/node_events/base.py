from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.model_runtime.entities.llm_entities import LLMUsage
from core.workflow.enums import WorkflowNodeExecutionStatus


@dataclass
class NodeRunResult:
    status: WorkflowNodeExecutionStatus = WorkflowNodeExecutionStatus.RUNNING
    inputs: Mapping[str, Any] | None = None
    process_data: Mapping[str, Any] | None = None
    outputs: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] | None = None
    llm_usage: LLMUsage | None = None
    edge_source_handle: str | None = None
    error: str | None = None
    error_type: str | None = None
