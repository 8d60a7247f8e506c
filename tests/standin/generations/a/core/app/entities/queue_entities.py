from dataclasses import dataclass
from typing import Any


@dataclass
class QueueLLMChunkEvent:
    chunk: Any


@dataclass
class QueueTextChunkEvent:
    text: str


@dataclass
class QueueMessageEndEvent:
    llm_result: Any


@dataclass
class QueueErrorEvent:
    error: Any


@dataclass
class QueueWorkflowEvent:
    event: Any
