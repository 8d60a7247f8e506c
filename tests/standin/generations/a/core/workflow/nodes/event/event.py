from dataclasses import dataclass

from core.workflow.entities.node_entities import NodeRunResult


@dataclass
class RunCompletedEvent:
    run_result: NodeRunResult


@dataclass
class RunStreamChunkEvent:
    chunk_content: str
    from_variable_selector: list[str]
