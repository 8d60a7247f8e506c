"""The completion hook: found by its entry point, loaded when first due, given the messages, kept from doing harm."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace as Shape
from typing import Any

import pytest
from dify_otel import completion, settings
from dify_otel_instrumentors import model
from dify_otel_instrumentors.core import span
from dify_otel_instrumentors.core.wrapper import instrument

MODULE = """
LOADED = []
CALLS = []


class Hook:
    def __init__(self):
        LOADED.append(self)

    def on_completion(self, **kwargs):
        CALLS.append(kwargs)


class Angry(Hook):
    def on_completion(self, **kwargs):
        raise RuntimeError("angry")


class Empty:
    pass
"""
POINTS = """[opentelemetry_genai_completion_hook]
recording = a_hook_of_the_tests:Hook
angry = a_hook_of_the_tests:Angry
empty = a_hook_of_the_tests:Empty
missing = a_hook_of_the_tests:NoSuchThing
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A package with hooks, installed as any other is."""
    (tmp_path / "a_hook_of_the_tests.py").write_text(MODULE)
    info = tmp_path / "a_hook_of_the_tests-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: a_hook_of_the_tests\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda: sys.modules.get("a_hook_of_the_tests")
    span.on_completion(None)
    sys.modules.pop("a_hook_of_the_tests", None)


def _chat() -> Any:
    message = Shape(role="user", content="Is it sunny? https://h/x?sign=CANARY", tool_calls=[], name=None)
    system = Shape(role="system", content="Be brief.", name=None)
    tool = Shape(name="weather", description="Tells it", parameters={"type": "object"})
    answer = Shape(message=Shape(content="Yes.", tool_calls=[]), usage=None, model="m", finish_reason="stop")

    def invoke_llm(self: Any, prompt_messages: Any, model_parameters: Any, tools: Any, stream: bool = False) -> Any:
        return answer

    instance = Shape(provider="a/b/openai", model_name="gpt")
    assert instrument(invoke_llm, model.CHAT)(instance, [system, message], {}, [tool]) is answer


def _use(name: str) -> None:
    read = settings.read({"OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK": name})
    span.on_completion(completion.hook(read.completion_hook))


def test_it_is_given_the_messages_and_the_span(record: Any, installed: Any) -> None:
    recorded = record(content_on_spans=True)
    _use("recording")
    assert installed() is None, "loaded before the first call"
    _chat()
    _chat()
    assert len(installed().LOADED) == 1
    first, _second = installed().CALLS
    assert first["inputs"] == [
        {"role": "user", "parts": [{"type": "text", "content": "Is it sunny? https://h/x?sign=***"}]}
    ]
    assert first["outputs"][0]["parts"] == [{"type": "text", "content": "Yes."}]
    assert first["system_instruction"] == [{"type": "text", "content": "Be brief."}]
    assert [tool["name"] for tool in first["tool_definitions"]] == ["weather"]
    assert first["span"].get_span_context() == recorded.spans[0].get_span_context()
    assert set(first) == {"inputs", "outputs", "system_instruction", "tool_definitions", "span", "log_record"}


@pytest.mark.parametrize("where", ["content_on_spans", "content_on_events"])
def test_wherever_content_may_go(where: str, record: Any, installed: Any) -> None:
    record(**{where: True})
    _use("recording")
    _chat()
    assert len(installed().CALLS) == 1


def test_not_while_content_is_off(record: Any, installed: Any) -> None:
    record()
    _use("recording")
    _chat()
    assert installed() is None


@pytest.mark.parametrize("name", ["angry", "empty", "missing", "no-such-entry-point"])
def test_a_bad_one_harms_nothing(name: str, record: Any, installed: Any, quiet_guard: Any) -> None:
    recorded = record(content_on_spans=True)
    _use(name)
    _chat()
    _chat()
    assert len(recorded.spans) == 2
    failures = quiet_guard.counts().get("completion.hook", 0)
    assert failures == {"angry": 2, "missing": 1}.get(name, 0)


def test_none_is_asked_for_by_default() -> None:
    assert completion.hook(settings.read({}).completion_hook) is None
