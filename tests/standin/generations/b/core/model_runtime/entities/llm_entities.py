from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any


@dataclass
class PromptMessage:
    role: str
    content: Any
    tool_calls: list[Any] = field(default_factory=list)


@dataclass
class AssistantPromptMessage(PromptMessage):
    role: str = "assistant"
    content: Any = ""


@dataclass
class LLMUsage:
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    prompt_unit_price: Decimal = Decimal("0.001")
    prompt_price_unit: Decimal = Decimal("0.001")
    prompt_price: Decimal = Decimal(0)
    completion_unit_price: Decimal = Decimal("0.002")
    completion_price_unit: Decimal = Decimal("0.001")
    completion_price: Decimal = Decimal(0)
    total_price: Decimal = Decimal(0)
    currency: str = "USD"
    latency: float = 0.0


@dataclass
class LLMResultChunkDelta:
    index: int
    message: AssistantPromptMessage
    usage: LLMUsage | None = None
    finish_reason: str | None = None


@dataclass
class LLMResultChunk:
    model: str
    prompt_messages: list[PromptMessage]
    delta: LLMResultChunkDelta
    system_fingerprint: str | None = None


@dataclass
class LLMResult:
    model: str
    prompt_messages: list[PromptMessage]
    message: AssistantPromptMessage
    usage: LLMUsage
    system_fingerprint: str | None = None


@dataclass
class EmbeddingUsage:
    tokens: int = 0
    total_tokens: int = 0
    total_price: Decimal = Decimal(0)
    currency: str = "USD"
    latency: float = 0.0


@dataclass
class TextEmbeddingResult:
    model: str
    embeddings: list[list[float]]
    usage: EmbeddingUsage


@dataclass
class RerankDocument:
    index: int
    text: str
    score: float


@dataclass
class RerankResult:
    model: str
    docs: list[RerankDocument]
