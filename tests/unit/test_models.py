"""Model calls on the engine's own classes: messages in the GenAI shape, usage, price, streams, errors."""

from __future__ import annotations

import io
import json
from collections.abc import Generator
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from dify_otel_instrumentors import messages, model
from dify_otel_instrumentors.core.wrapper import instrument
from graphon.model_runtime.entities.llm_entities import LLMResult, LLMResultChunk, LLMResultChunkDelta, LLMUsage
from graphon.model_runtime.entities.message_entities import (
    AssistantPromptMessage,
    ImagePromptMessageContent,
    PromptMessageTool,
    SystemPromptMessage,
    TextPromptMessageContent,
    ToolPromptMessage,
    UserPromptMessage,
)

from tests.semconv.schemas import faults


def valid(value: Any, attribute: str) -> Any:
    assert faults(attribute, json.dumps(value)) == []
    return value


INPUT, OUTPUT, SYSTEM, TOOLS = (
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.system_instructions",
    "gen_ai.tool.definitions",
)


def call(name: str, arguments: str, id: str = "call_1") -> Any:
    function = AssistantPromptMessage.ToolCall.ToolCallFunction(name=name, arguments=arguments)
    return AssistantPromptMessage.ToolCall(id=id, type="function", function=function)


PROMPT = [
    SystemPromptMessage(content="Be brief."),
    SystemPromptMessage(content="Be kind."),
    UserPromptMessage(
        content=[
            TextPromptMessageContent(data="What is this?"),
            ImagePromptMessageContent(format="png", url="https://files/x.png?sign=CANARY", mime_type="image/png"),
            ImagePromptMessageContent(format="png", base64_data="QUJD" * 1000, mime_type="image/png"),
        ],
        name="ann",
    ),
    AssistantPromptMessage(content="", tool_calls=[call("weather", '{"city": "Berlin"}'), call("odd", "not json", "")]),
    ToolPromptMessage(content="sunny", tool_call_id="call_1"),
    SystemPromptMessage(content="late"),
    UserPromptMessage(content="thanks"),
]
USAGE = LLMUsage(
    prompt_tokens=10, prompt_unit_price=Decimal("0.1"), prompt_price_unit=Decimal("0.001"), prompt_price=Decimal("0.001"),  # noqa: E501
    completion_tokens=5, completion_unit_price=Decimal("0.2"), completion_price_unit=Decimal("0.001"),
    completion_price=Decimal("0.002"), total_tokens=15, total_price=Decimal("0.003"), currency="USD", latency=0.5,
)  # fmt: skip
WEATHER = PromptMessageTool(
    name="weather", description="Tells the weather", parameters={"type": "object", "properties": {}}
)
SILENT = PromptMessageTool(name="silent", description="", parameters={})


def test_prompts_have_the_shape_of_the_convention() -> None:
    system, rest = messages.prompt(PROMPT)
    assert valid(system, SYSTEM) == [{"type": "text", "content": "Be brief."}, {"type": "text", "content": "Be kind."}]
    valid(rest, INPUT)
    assert [m["role"] for m in rest] == ["user", "assistant", "tool", "system", "user"]
    assert rest[0]["name"] == "ann"
    assert [p["type"] for p in rest[0]["parts"]] == ["text", "uri", "blob"]
    assert "QUJD" not in json.dumps(rest)
    assert [p["arguments"] for p in rest[1]["parts"]] == [{"city": "Berlin"}, "not json"]
    assert rest[2]["parts"] == [{"type": "tool_call_response", "id": "call_1", "response": "sunny"}]


@pytest.mark.parametrize(
    "prompt", [None, [], [UserPromptMessage(content=None)], [UserPromptMessage(content=[])], [object()]]
)
def test_odd_prompts(prompt: Any) -> None:
    system, rest = messages.prompt(prompt)
    valid(system, SYSTEM)
    valid(rest, INPUT)


def test_answers_and_tools() -> None:
    valid(messages.answer("text", [call("weather", "{}")], "thinking", None), OUTPUT)
    valid(messages.answer("", None, None, "stop"), OUTPUT)
    told = valid(messages.tools([WEATHER, SILENT]), TOOLS)
    assert told[0]["parameters"] == {"type": "object", "properties": {}}


class Instance:
    provider, model_name = "langgenius/openai/openai", "gpt-4o"

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def invoke_llm(
        self,
        prompt_messages: Any,
        model_parameters: Any = None,
        tools: Any = None,
        stop: Any = None,
        stream: bool = True,
    ) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer if not stream else self._chunks()

    def _chunks(self) -> Generator[Any, None, None]:
        for chunk in self.answer:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk


def chunk(text: Any, *, calls: Any = (), usage: Any = None, finish: Any = None) -> LLMResultChunk:
    message = AssistantPromptMessage(content=text, tool_calls=list(calls))
    return LLMResultChunk(
        model="gpt-4o-2024", delta=LLMResultChunkDelta(index=0, message=message, usage=usage, finish_reason=finish)
    )


CHUNKS = [
    chunk(""),
    chunk("Hel"),
    chunk("lo"),
    chunk("", calls=[call("weather", "{}")]),
    chunk("", usage=USAGE, finish="tool_calls"),
]
chat = instrument(Instance.invoke_llm, model.CHAT)


def test_a_streamed_chat(record: Any) -> None:
    recorded = record(content_on_spans=True)
    given = list(chat(Instance(CHUNKS), PROMPT, {"temperature": 0.5, "max_tokens": 9, "response_format": "json_object", "n": "x"},  # noqa: E501
                      [WEATHER], ["END"]))  # fmt: skip
    assert [id(c) for c in given] == [id(c) for c in CHUNKS]
    told = recorded.span("chat gpt-4o")
    facts = told.attributes
    assert {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.request.stream": True,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 9,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.output.type": "json",
        "gen_ai.response.finish_reasons": ("tool_call",),
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.total_tokens": 15,
        "dify.usage.cost.total": 0.003,
        "dify.usage.cost.currency": "USD",
        "dify.plugin.name": "langgenius/openai",
        "dify.llm.chunk_count": 5,
        "dify.llm.tool_call_count": 1,
        "dify.llm.tool_names": ("weather",),
        "gen_ai.span.kind": "LLM",
    }.items() <= facts.items()
    assert facts["gen_ai.response.time_to_first_chunk"] > 0
    valid(json.loads(facts["gen_ai.input.messages"]), INPUT)
    valid(json.loads(facts["gen_ai.system_instructions"]), SYSTEM)
    valid(json.loads(facts["gen_ai.tool.definitions"]), TOOLS)
    (answer,) = valid(json.loads(facts["gen_ai.output.messages"]), OUTPUT)
    assert [p.get("content", p.get("name")) for p in answer["parts"]] == ["Hello", "weather"]
    assert "CANARY" not in repr(dict(facts))
    tokens = {p.attributes["gen_ai.token.type"]: p.sum for p in recorded.points("gen_ai.client.token.usage")}
    assert tokens == {"input": 10, "output": 5}
    assert [p.value for p in recorded.points("dify.cost")] == [0.003]
    assert len(recorded.points("gen_ai.client.operation.time_to_first_chunk")) == 1


def test_without_content_nothing_said_leaves(recorded: Any) -> None:
    list(chat(Instance(CHUNKS), PROMPT, {}, [WEATHER]))
    facts = recorded.spans[0].attributes
    assert not [
        k
        for k in facts
        if "messages" in k or "instructions" in k or "definitions" in k or k in ("input.value", "output.value")
    ]
    for said in ("brief", "What is", "Berlin", "Hel", "sunny"):
        assert said not in repr(dict(facts))


def test_a_blocking_chat(record: Any) -> None:
    recorded = record(content_on_spans=True)
    result = LLMResult(model="gpt-4o-2024", message=AssistantPromptMessage(content="Hello"), usage=USAGE)
    assert chat(Instance(result), PROMPT, stream=False) is result
    facts = recorded.spans[0].attributes
    assert facts["gen_ai.response.model"] == "gpt-4o-2024"
    assert facts["gen_ai.usage.total_tokens"] == 15
    assert "gen_ai.request.stream" not in facts and "gen_ai.response.time_to_first_chunk" not in facts
    assert json.loads(facts["gen_ai.output.messages"])[0]["parts"] == [{"type": "text", "content": "Hello"}]


def test_a_chat_that_fails_midway_keeps_what_came(recorded: Any) -> None:
    error = ConnectionError("CANARY")
    stream = chat(Instance([*CHUNKS[:3], error]), PROMPT)
    with pytest.raises(ConnectionError) as raised:
        list(stream)
    assert raised.value is error
    facts = recorded.spans[0].attributes
    assert facts["error.type"] == "ConnectionError" and facts["dify.llm.chunk_count"] == 3
    (point,) = recorded.points("gen_ai.client.operation.duration")
    assert point.attributes["error.type"] == "ConnectionError"


def test_a_free_model_has_no_price(recorded: Any) -> None:
    free = USAGE.model_copy(
        update={"total_price": Decimal(0), "prompt_price": Decimal(0), "completion_price": Decimal(0)}
    )
    list(chat(Instance([chunk("x", usage=free)]), PROMPT))
    assert not [k for k in recorded.spans[0].attributes if "cost" in k]
    assert recorded.points("dify.cost") == []


def test_a_long_stream_keeps_a_bounded_part(record: Any) -> None:
    recorded = record(content_on_spans=True, content_limit=1000)
    calls = [call("tool", "{}", str(n)) for n in range(64)]

    def many() -> Any:
        for n in range(3000):
            yield chunk("x" * 1000, calls=calls if n % 10 == 0 else ())

    instance = Instance([])
    instance._chunks = many  # type: ignore[method-assign]
    assert sum(1 for _ in chat(instance, PROMPT)) == 3000
    assert len(recorded.spans[0].attributes["gen_ai.output.messages"]) < 1200


def test_rerank_embeddings_and_speech(record: Any) -> None:
    recorded = record(content_on_spans=True)
    instance = Instance(None)
    ranked = SimpleNamespace(docs=[SimpleNamespace(score=0.9, text="a"), SimpleNamespace(score=None, text="b")])
    instrument(lambda self, query, docs, score_threshold=None, top_n=None: ranked, model.RERANK)(
        instance, "q", ["a", "b", "c"], top_n=2
    )
    vectors = SimpleNamespace(
        embeddings=[[0.0] * 8, [1.0] * 8], model="e", usage=SimpleNamespace(tokens=4, total_tokens=4, total_price=0)
    )
    instrument(lambda self, texts: vectors, model.EMBED)(instance, ["a", "b"])
    assert list(
        instrument(lambda self, content_text, voice: (b for b in (b"ab", b"c")), model.TEXT_TO_SPEECH)(
            instance, "hi", "v"
        )
    )
    instrument(lambda self, file: "heard", model.SPEECH_TO_TEXT)(instance, io.BytesIO(b"sound"))
    instrument(lambda self, text: True, model.MODERATION)(instance, "bad")
    facts = {s.name.split()[0]: s.attributes for s in recorded.spans}
    assert facts["rerank"]["dify.rerank.scores"] == (0.9, 0.0) and facts["rerank"]["dify.rerank.output_count"] == 2
    assert facts["embeddings"]["gen_ai.embeddings.dimension.count"] == 8
    assert facts["embeddings"]["gen_ai.usage.input_tokens"] == 4
    assert facts["text_to_speech"]["dify.tts.bytes"] == 3 and facts["text_to_speech"]["dify.tts.chunks"] == 2
    assert facts["speech_to_text"]["dify.speech.transcript"] == "heard"
    assert facts["speech_to_text"]["dify.audio.bytes"] == 5
    assert facts["moderation"]["dify.moderation.flagged"] is True


def test_cached_embeddings_are_one_span_with_the_cache_known(recorded: Any) -> None:
    instance = Instance(None)
    vectors = SimpleNamespace(
        embeddings=[[0.0] * 8], model="e", usage=SimpleNamespace(tokens=4, total_tokens=4, total_price=0)
    )
    embed = instrument(lambda self, texts: vectors, model.EMBED)
    cache = SimpleNamespace(_model_instance=instance)

    def documents(self: Any, texts: list[str]) -> list[list[float]]:
        for text in texts[:2]:  # two batches of one; the third text is in the cache
            embed(self._model_instance, [text])
        return [[0.0] * 8 for _ in texts]

    instrument(documents, model.CACHED_EMBED)(cache, ["a", "b", "c"])
    (told,) = recorded.spans
    assert told.attributes["dify.embeddings.input_count"] == 3
    assert told.attributes["dify.embeddings.cache_hits"] == 1
    assert told.attributes["gen_ai.usage.input_tokens"] == 8


# --- tool calls in pieces


def piece(arguments: str, name: str = "", id: str = "", index: int | None = None) -> Any:
    return SimpleNamespace(id=id, index=index, function=SimpleNamespace(name=name, arguments=arguments))


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        pytest.param(
            [[piece("", "weather", "call_1")], [piece('{"city": ', id="call_1")], [piece('"Berlin"}', id="call_1")]],
            [("call_1", "weather", {"city": "Berlin"})],
            id="by id",
        ),
        pytest.param(
            [
                [piece('{"city": ', "weather", "call_1", 0), piece("", "news", "call_2", 1)],
                [piece('"topic"', index=1)],
                [piece('"Berlin"}', index=0)],
            ],
            [("call_1", "weather", {"city": "Berlin"}), ("call_2", "news", "topic")],
            id="by index",
        ),
        pytest.param(
            [[piece('{"city": ', "weather", "call_1")], [piece('"Ber')], [piece('lin"}')]],
            [("call_1", "weather", {"city": "Berlin"})],
            id="neither: the newest",
        ),
        pytest.param(
            [[piece('{"n": 1}', "count", "call_1")], [piece('{"n": 2}', "count", "call_1")]],
            [("call_1", "count", {"n": 1}), ("call_1", "count", {"n": 2})],
            id="whole calls that share an id stay two",
        ),
        pytest.param(
            [[piece('{"n": 1}', "count", "call_1"), piece('{"n": 2}', "count", "call_2")]],
            [("call_1", "count", {"n": 1}), ("call_2", "count", {"n": 2})],
            id="whole calls",
        ),
        pytest.param([[piece("not json", "odd")]], [(None, "odd", "not json")], id="not json"),
    ],
)
def test_a_streamed_tool_call_is_put_together(record: Any, chunks: Any, expected: Any) -> None:
    recorded = record(content_on_spans=True)

    def invoke_llm(self: Any, prompt_messages: Any, model_parameters: Any, stream: bool = True) -> Any:
        for calls in chunks:
            message = SimpleNamespace(content="", tool_calls=calls)
            yield SimpleNamespace(model="m", delta=SimpleNamespace(message=message, usage=None, finish_reason=None))
        end = SimpleNamespace(content="", tool_calls=[])
        yield SimpleNamespace(model="m", delta=SimpleNamespace(message=end, usage=None, finish_reason="tool_use"))

    given = list(instrument(invoke_llm, model.CHAT)(Instance(None), [], {}))
    assert [c.delta.message.tool_calls for c in given[:-1]] == chunks, "what Dify is given is untouched"
    told = recorded.span("chat gpt-4o").attributes
    said = json.loads(told["gen_ai.output.messages"])
    valid(said, OUTPUT)
    assert [(p["id"], p["name"], p["arguments"]) for p in said[0]["parts"]] == expected
    assert told["dify.llm.tool_call_count"] == len(expected)
    assert told["gen_ai.response.finish_reasons"] == ("tool_call",)


def test_a_stream_of_tool_call_pieces_is_bounded(record: Any) -> None:
    known: list[messages.MergedCall] = []
    for n in range(1000):
        messages.merge_calls(known, [piece("{}", "tool", f"call_{n}")])
    assert len(known) == messages.CALLS_MAX
    long: list[messages.MergedCall] = []
    for _ in range(1000):
        messages.merge_calls(long, [piece("x" * 1000, id="call_1")])
    assert len(long) == 1
    assert len(long[0].arguments) < 70_000


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        ("stop", "stop"),
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("MAX_TOKENS", "length"),
        ("length", "length"),
        ("tool_calls", "tool_call"),
        ("tool_use", "tool_call"),
        ("function_call", "tool_call"),
        ("SAFETY", "content_filter"),
        ("content_filter", "content_filter"),
        ("Something_Else", "something_else"),
    ],
)
def test_finish_reasons_in_the_conventions_words(recorded: Any, raw: str, normal: str) -> None:
    answer = SimpleNamespace(
        message=SimpleNamespace(content="", tool_calls=[]), usage=None, finish_reason=raw, model="m"
    )
    instrument(Instance.invoke_llm, model.CHAT)(Instance(answer), [], {}, stream=False)
    assert recorded.span("chat gpt-4o").attributes["gen_ai.response.finish_reasons"] == (normal,)


@pytest.mark.parametrize(
    "details",
    [
        {"cached_tokens": 4, "reasoning_tokens": 2},
        {"cache_read_input_tokens": 4, "reasoning_tokens": 2},
        {
            "prompt_tokens_details": SimpleNamespace(cached_tokens=4),
            "completion_tokens_details": SimpleNamespace(reasoning_tokens=2),
        },
    ],
)
def test_cached_and_reasoning_tokens_where_a_provider_sends_them(recorded: Any, details: Any) -> None:
    usage = SimpleNamespace(prompt_tokens=9, completion_tokens=5, total_tokens=14, **details)
    message = SimpleNamespace(content="x", tool_calls=[])
    answer = SimpleNamespace(message=message, usage=usage, finish_reason="stop", model="m")
    instrument(Instance.invoke_llm, model.CHAT)(Instance(answer), [], {}, stream=False)
    told = recorded.span("chat gpt-4o").attributes
    assert told["gen_ai.usage.input_tokens"] == 9
    assert told["gen_ai.usage.cache_read.input_tokens"] == 4
    assert told["gen_ai.usage.reasoning.output_tokens"] == 2
    assert "gen_ai.usage.cache_write.input_tokens" not in told
    (read,) = recorded.points("gen_ai.client.inference.usage.cache_read.input_tokens")
    assert read.value == 4


def test_no_zero_is_made_up(recorded: Any) -> None:
    answer = SimpleNamespace(
        message=SimpleNamespace(content="x", tool_calls=[]), usage=USAGE, finish_reason="stop", model="m"
    )
    instrument(Instance.invoke_llm, model.CHAT)(Instance(answer), [], {}, stream=False)
    told = recorded.span("chat gpt-4o").attributes
    assert not [key for key in told if "cache" in key or "reasoning" in key]
