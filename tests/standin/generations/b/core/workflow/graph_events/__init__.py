from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from core.workflow.node_events.base import NodeRunResult


@dataclass
class GraphNodeEventBase:
    id: str
    node_id: str
    node_type: str
    in_iteration_id: str | None = None
    in_loop_id: str | None = None
    node_version: str = "1"
    node_run_result: NodeRunResult = field(default_factory=NodeRunResult)
    start_at: datetime = field(default_factory=datetime.now)


@dataclass
class NodeRunStartedEvent(GraphNodeEventBase):
    node_title: str = ""
    predecessor_node_id: str | None = None


@dataclass
class NodeRunStreamChunkEvent(GraphNodeEventBase):
    selector: tuple[str, ...] = ()
    chunk: str = ""
    is_final: bool = False


class NodeRunSucceededEvent(GraphNodeEventBase):
    pass


@dataclass
class NodeRunFailedEvent(GraphNodeEventBase):
    error: str = ""


@dataclass
class NodeRunExceptionEvent(GraphNodeEventBase):
    error: str = ""


@dataclass
class NodeRunPauseRequestedEvent(GraphNodeEventBase):
    reason: Any = None


@dataclass
class GraphRunStartedEvent:
    pass


@dataclass
class GraphRunSucceededEvent:
    outputs: dict[str, Any] = field(default_factory=dict)


@dataclass
class GraphRunFailedEvent:
    error: str
    exceptions_count: int = 0


@dataclass
class GraphRunPartialSucceededEvent:
    exceptions_count: int
    outputs: dict[str, Any] = field(default_factory=dict)


@dataclass
class GraphRunAbortedEvent:
    reason: str | None = None
    outputs: dict[str, Any] = field(default_factory=dict)
