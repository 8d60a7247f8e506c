"""Messages against the GenAI JSON schemas: what Dify's classes become, and that the schemas do refuse."""

from __future__ import annotations

import json
from types import SimpleNamespace as Shape
from typing import Any

import pytest
from dify_otel_instrumentors import messages
from dify_otel_instrumentors.core import content
from graphon.model_runtime.entities.message_entities import (
    AssistantPromptMessage,
    AudioPromptMessageContent,
    DocumentPromptMessageContent,
    ImagePromptMessageContent,
    PromptMessageTool,
    SystemPromptMessage,
    TextPromptMessageContent,
    ToolPromptMessage,
    UserPromptMessage,
    VideoPromptMessageContent,
)

from tests.semconv.schemas import FINISH, SCHEMAS, faults


def _call(name: str, arguments: str, identity: str = "call_1") -> Any:
    function = AssistantPromptMessage.ToolCall.ToolCallFunction(name=name, arguments=arguments)
    return AssistantPromptMessage.ToolCall(id=identity, type="function", function=function)


PROMPT = [
    SystemPromptMessage(content="Be brief."),
    UserPromptMessage(
        content=[
            TextPromptMessageContent(data="What is this?"),
            ImagePromptMessageContent(format="png", url="https://files/x.png?sign=s", mime_type="image/png"),
            ImagePromptMessageContent(format="png", base64_data="QUJD", mime_type="image/png"),
            AudioPromptMessageContent(format="wav", url="https://files/x.wav", mime_type="audio/wav"),
            VideoPromptMessageContent(format="mp4", url="https://files/x.mp4", mime_type="video/mp4"),
            DocumentPromptMessageContent(format="pdf", base64_data="QUJD", mime_type="application/pdf"),
        ]
    ),
    AssistantPromptMessage(content="", tool_calls=[_call("weather", '{"city": "Berlin"}'), _call("odd", "{", "")]),
    ToolPromptMessage(content="sunny", tool_call_id="call_1"),
    UserPromptMessage(content=""),
]


def test_prompts() -> None:
    system, rest = messages.prompt(PROMPT)
    assert faults("gen_ai.system_instructions", system) == []
    assert faults("gen_ai.input.messages", rest) == []
    kinds = [part["type"] for message in rest for part in message["parts"]]
    assert kinds == ["text", "uri", "blob", "uri", "uri", "blob", "tool_call", "tool_call", "tool_call_response"]


@pytest.mark.parametrize("limit", [16, 64, 200, 400, 1000, 8192])
def test_a_cut_list_is_still_what_the_schema_says_up_to_the_cut(limit: int) -> None:
    _, rest = messages.prompt([*PROMPT, UserPromptMessage(content="long " * 1000)])
    read = json.loads(content.encode(rest, limit))
    assert isinstance(read, list)
    for message in read[:-1]:
        assert faults("gen_ai.input.messages", [message]) == []


@pytest.mark.parametrize("finish", [*FINISH, None])
def test_answers(finish: str | None) -> None:
    calls: list[messages.MergedCall] = []
    messages.merge_calls(calls, [_call("weather", '{"city": "Berlin"}')])
    said = messages.answer("Hello", calls, "thinking", finish)
    assert faults("gen_ai.output.messages", said) == []
    assert [part["type"] for part in said[0]["parts"]] == ["reasoning", "text", "tool_call"]
    assert said[0].get("finish_reason") == finish


def test_tool_definitions() -> None:
    tools = [
        PromptMessageTool(name="weather", description="Tells it", parameters={"type": "object", "properties": {}}),
        Shape(name="bare", description=None, parameters=None),
    ]
    assert faults("gen_ai.tool.definitions", messages.tools(tools)) == []


@pytest.mark.parametrize(
    ("attribute", "wrong"),
    [
        ("gen_ai.input.messages", [{"role": "user"}]),
        ("gen_ai.input.messages", [{"role": "nobody", "parts": []}]),
        ("gen_ai.input.messages", [{"role": "user", "parts": [{"type": "text"}]}]),
        ("gen_ai.input.messages", [{"role": "user", "parts": [{"type": "text", "content": None}]}]),
        ("gen_ai.input.messages", [{"role": "user", "parts": [{"type": "uri", "uri": "x"}]}]),
        ("gen_ai.input.messages", {"role": "user", "parts": []}),
        ("gen_ai.output.messages", [{"role": "assistant", "parts": [{"type": "tool_call", "id": "1"}]}]),
        ("gen_ai.output.messages", [{"role": "assistant", "parts": [], "finish_reason": 1}]),
        ("gen_ai.system_instructions", ["Be brief."]),
        ("gen_ai.tool.definitions", [{"name": "weather"}]),
        ("gen_ai.retrieval.documents", [{"id": 1}]),
        ("gen_ai.retrieval.documents", [{"id": "1", "score": "high"}]),
    ],
)
def test_the_schemas_refuse(attribute: str, wrong: Any) -> None:
    assert faults(attribute, wrong)
    assert set(SCHEMAS) >= {attribute}
