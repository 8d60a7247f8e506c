"""The `openinference` dialect: messages, tools and documents flattened, within bounds, behind the content gate."""

from __future__ import annotations

from types import SimpleNamespace as Shape
from typing import Any

from dify_otel_instrumentors import messages, model, retrieval
from dify_otel_instrumentors.core.operation import Content
from dify_otel_instrumentors.core.wrapper import instrument

CALL = Shape(id="call_1", function=Shape(name="weather", arguments='{"city": "Berlin"}'))
PROMPT = [
    Shape(role="system", content="Be brief.", name=None),
    Shape(role="user", content="Is it sunny?", name=None),
    Shape(role="assistant", content="", tool_calls=[CALL], name=None),
    Shape(role="tool", content="sunny", tool_call_id="call_1", name=None),
]
TOOL = Shape(name="weather", description="Tells it", parameters={"type": "object"})
BOTH = ("otel", "openinference")


def _chat(recorded: Any, prompt: list[Any]) -> Any:
    usage = Shape(
        prompt_tokens=9,
        completion_tokens=3,
        total_tokens=12,
        prompt_tokens_details=Shape(cached_tokens=5),
        completion_tokens_details=Shape(reasoning_tokens=2),
    )
    answer = Shape(message=Shape(content="Yes.", tool_calls=[]), usage=usage, model="m", finish_reason="stop")

    def invoke_llm(self: Any, prompt_messages: Any, model_parameters: Any, tools: Any, stream: bool = False) -> Any:
        return answer

    instrument(invoke_llm, model.CHAT)(Shape(provider="a/b/openai", model_name="gpt"), prompt, {}, [TOOL])
    return recorded.span("chat gpt").attributes


def test_messages_and_tools(record: Any) -> None:
    told = _chat(record(dialects=BOTH, content_on_spans=True), PROMPT)
    flat = {key: value for key, value in told.items() if key.startswith("llm.") and "messages" in key}
    assert flat == {
        "llm.input_messages.0.message.role": "system",
        "llm.input_messages.0.message.content": "Be brief.",
        "llm.input_messages.1.message.role": "user",
        "llm.input_messages.1.message.content": "Is it sunny?",
        "llm.input_messages.2.message.role": "assistant",
        "llm.input_messages.2.message.tool_calls.0.tool_call.id": "call_1",
        "llm.input_messages.2.message.tool_calls.0.tool_call.function.name": "weather",
        "llm.input_messages.2.message.tool_calls.0.tool_call.function.arguments": '{"city":"Berlin"}',
        "llm.input_messages.3.message.role": "tool",
        "llm.input_messages.3.message.tool_call_id": "call_1",
        "llm.input_messages.3.message.content": "sunny",
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.content": "Yes.",
    }
    assert told["llm.tools.0.tool.json_schema"].startswith('{"type":"function","name":"weather"')
    assert told["openinference.span.kind"] == "LLM"
    assert told["llm.finish_reason"] == "stop"
    assert told["llm.token_count.prompt_details.cache_read"] == 5
    assert told["llm.token_count.completion_details.reasoning"] == 2


def test_nothing_of_it_without_content_or_without_the_dialect(record: Any) -> None:
    told = _chat(record(dialects=BOTH), PROMPT)
    assert not [key for key in told if "message." in key or key.startswith("llm.tools")]
    told = _chat(record(dialects=("otel",), content_on_spans=True), PROMPT)
    assert not [key for key in told if key.startswith("llm.") and "message" in key]


def test_a_long_conversation_keeps_its_newest_messages_and_the_span_its_attributes(record: Any) -> None:
    prompt = [Shape(role="user", content=f"message {n}", name=None) for n in range(500)]
    told = _chat(record(dialects=BOTH, content_on_spans=True), prompt)
    flat = [key for key in told if key.startswith("llm.input_messages.")]
    assert len(flat) == messages.FLATTENED_MAX["llm.input_messages"]
    last = len(flat) // 2 - 1
    assert told[f"llm.input_messages.{last}.message.content"] == "message 499"
    assert told["gen_ai.operation.name"] == "chat"
    assert len(told) <= 128


def test_the_bounds_together_leave_room_on_a_span() -> None:
    assert sum(messages.FLATTENED_MAX.values()) - messages.FLATTENED_MAX["retrieval.documents"] <= 64


def test_what_is_said_is_behind_the_gate() -> None:
    pairs = list(messages.openinference("llm.input_messages", messages.prompt(PROMPT[1:])[1]))
    said = [value for key, value in pairs if key.endswith(("content", "arguments"))]
    assert said
    assert all(isinstance(value, Content) for value in said)


def test_documents(record: Any) -> None:
    documents = [
        Shape(page_content=f"text {n}", metadata={"doc_id": f"d{n}", "document_id": "x", "score": 0.5})
        for n in range(50)
    ]
    recorded = record(dialects=BOTH, content_on_spans=True)
    instrument(lambda self, query: documents, retrieval.RETRIEVE)(Shape(), "q")
    told = recorded.span("retrieval").attributes
    assert told["retrieval.documents.0.document.id"] == "d0"
    assert told["retrieval.documents.0.document.score"] == 0.5
    assert told["retrieval.documents.0.document.content"] == "text 0"
    flat = [key for key in told if key.startswith("retrieval.documents.")]
    assert len(flat) == messages.FLATTENED_MAX["retrieval.documents"]
