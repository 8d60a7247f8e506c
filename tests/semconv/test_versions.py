"""`DIFY_OTEL_SEMCONV`: the newest names, the former ones beside them, or core 1.41.1's alone."""

from __future__ import annotations

from types import SimpleNamespace as Shape
from typing import Any

import pytest
from dify_otel import settings
from dify_otel_instrumentors import model, retrieval
from dify_otel_instrumentors.core import semconv
from dify_otel_instrumentors.core.wrapper import instrument

USAGE = Shape(prompt_tokens=9, completion_tokens=3, total_tokens=12, cache_creation_input_tokens=4)
NEW, OLD = "gen_ai.usage.cache_write.input_tokens", "gen_ai.usage.cache_creation.input_tokens"


def _chat(recorded: Any) -> Any:
    message = Shape(role="user", content="hello", tool_calls=[], name=None)
    answer = Shape(message=Shape(content="hi", tool_calls=[]), usage=USAGE, model="m", finish_reason="end_turn")

    def invoke_llm(self: Any, prompt_messages: Any, model_parameters: Any, stream: bool = False) -> Any:
        return answer

    instance = Shape(provider="langgenius/openai/openai", model_name="gpt")
    instrument(invoke_llm, model.CHAT)(instance, [message], {"top_k": 40})
    return recorded.span("chat gpt").attributes


def _retrieval(recorded: Any) -> Any:
    def retrieve(self: Any, query: str, top_k: int) -> Any:
        return []

    instrument(retrieve, retrieval.RETRIEVE)(Shape(), "q", top_k=3)
    return recorded.span("retrieval").attributes


def _dialects(version: str, chosen: str = "otel") -> tuple[str, ...]:
    read = settings.read({"DIFY_OTEL_SEMCONV": version, "DIFY_OTEL_DIALECTS": chosen})
    assert read.semconv == version
    assert read.warnings == ()
    return read.dialects


def test_the_newest_names_alone_by_default(record: Any) -> None:
    assert settings.read({}).semconv == "latest"
    recorded = record(dialects=_dialects("latest"), content_on_spans=True)
    told = _chat(recorded)
    assert told[NEW] == 4
    assert OLD not in told
    assert type(told["gen_ai.request.top_k"]) is int
    assert not {"gen_ai.system", "gen_ai.prompt", "gen_ai.completion"} & set(told)
    assert "finish_reason" not in told["gen_ai.output.messages"]
    found = _retrieval(recorded)
    assert found["gen_ai.retrieval.top_k"] == 3
    assert "gen_ai.request.top_k" not in found


def test_both(record: Any) -> None:
    recorded = record(dialects=_dialects("dup"), content_on_spans=True)
    told = _chat(recorded)
    assert told[NEW] == told[OLD] == 4
    assert told["gen_ai.provider.name"] == told["gen_ai.system"] == "openai"
    assert told["gen_ai.input.messages"] == told["gen_ai.prompt"]
    assert told["gen_ai.output.messages"] == told["gen_ai.completion"]
    assert '"finish_reason":"stop"' in told["gen_ai.output.messages"]
    found = _retrieval(recorded)
    assert found["gen_ai.retrieval.top_k"] == 3
    assert found["gen_ai.request.top_k"] == 3.0
    assert type(found["gen_ai.request.top_k"]) is float


def test_what_is_content_is_content_under_its_former_name_too(record: Any) -> None:
    told = _chat(record(dialects=_dialects("dup")))
    assert not {"gen_ai.prompt", "gen_ai.completion", "gen_ai.input.messages"} & set(told)


def test_the_former_names_alone(record: Any) -> None:
    recorded = record(dialects=_dialects("1.41"), content_on_spans=True)
    told = _chat(recorded)
    assert told[OLD] == 4
    assert NEW not in told
    assert type(told["gen_ai.request.top_k"]) is float
    assert '"finish_reason":"stop"' in told["gen_ai.output.messages"]
    found = _retrieval(recorded)
    assert found["gen_ai.request.top_k"] == 3.0
    assert "gen_ai.retrieval.top_k" not in found


def test_arms_keeps_its_finish_reason_in_messages(record: Any) -> None:
    told = _chat(record(dialects=_dialects("latest", "otel,arms"), content_on_spans=True))
    assert '"finish_reason":"stop"' in told["gen_ai.output.messages"]


@pytest.mark.parametrize("value", ["1.40", "newest"])
def test_an_unknown_version_is_said_and_the_default_used(value: str) -> None:
    read = settings.read({"DIFY_OTEL_SEMCONV": value})
    assert read.semconv == "latest"
    assert len(read.warnings) == 1
    assert "latest, dup, 1.41" in read.warnings[0]
    assert read.dialects == ("otel", "arms")


def test_every_version_has_its_table() -> None:
    for version in semconv.VERSIONS:
        semconv.aliases(("otel", *semconv.version_dialect(version)))
