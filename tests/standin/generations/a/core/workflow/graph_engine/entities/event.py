from dataclasses import dataclass
from typing import Any


@dataclass
class GraphRunStartedEvent:
    pass


@dataclass
class GraphRunSucceededEvent:
    outputs: dict[str, Any] | None = None


@dataclass
class GraphRunFailedEvent:
    error: str
    exceptions_count: int = 0


@dataclass
class GraphRunPartialSucceededEvent:
    exceptions_count: int
    outputs: dict[str, Any] | None = None


@dataclass
class NodeRunExceptionEvent:
    id: str
    error: str
