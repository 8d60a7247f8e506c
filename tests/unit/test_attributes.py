"""Attributes put past the SDK's second look are those the public way gives, and the public way is taken in doubt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from dify_otel_instrumentors.core import attributes, guard, span
from dify_otel_instrumentors.core.operation import Content, Operation, ready
from dify_otel_instrumentors.core.rules import Policy
from opentelemetry.sdk.trace import Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler, TraceIdRatioBased

FACTS = (
    ("text", "ä" * 2000),
    ("number", 7),
    ("share", 0.5),
    ("flag", True),
    ("list", ["a", "b"]),
    ("mixed", ["a", 1]),
    ("nothing", None),
    ("said", Content({"k": [1, 2]})),
    ("dify.app_id", "app"),
)
OPERATION = Operation(
    concept="thing",
    name=lambda facts: "thing",
    before=lambda arguments, enclosing: FACTS,
    after=lambda call, result: [("late", "x"), ("number", 8), ("late list", ("y",))],
)


class Reader(SpanProcessor):
    def __init__(self) -> None:
        self.seen: list[Mapping[str, Any]] = []

    def on_start(self, span: Span, parent_context: Any = None) -> None:
        self.seen.append(dict(span.attributes or {}))


def made(
    private: bool = True,
    processor: SpanProcessor | None = None,
    operation: Operation = OPERATION,
    dialects: tuple[str, ...] = Policy().dialects,
    **provided: Any,
) -> Any:
    keep = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False, **provided)
    if processor is not None:
        provider.add_span_processor(processor)
    provider.add_span_processor(SimpleSpanProcessor(keep))
    span.configure(provider.get_tracer("test"), Policy(content_on_spans=True, dialects=dialects), private=private)
    try:
        call = span.begin(operation, {})
        call.finish()
    finally:
        span.configure(None)
    (one,) = keep.get_finished_spans()
    return one


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes each attribute that goes through the SDK's own door."""
    gone: list[str] = []
    set_attributes = Span.set_attributes

    def noting(self: Any, given: Mapping[str, Any]) -> None:
        gone.extend(given)
        set_attributes(self, given)

    monkeypatch.setattr(Span, "set_attributes", noting)
    return gone


def test_the_short_way_is_taken_with_the_installed_sdk(public: list[str]) -> None:
    made()
    assert public == []


def test_both_ways_give_the_same_attributes(monkeypatch: pytest.MonkeyPatch) -> None:
    short = made()
    monkeypatch.setattr(attributes, "learn", lambda: setattr(attributes, "_kind", None))
    long = made(private=False)
    assert dict(short.attributes) == dict(long.attributes)
    assert {k: type(v) for k, v in short.attributes.items()} == {k: type(v) for k, v in long.attributes.items()}
    assert short.attributes["list"] == ("a", "b")
    assert short.attributes["number"] == 8


def test_a_limit_on_the_number_of_attributes_holds(public: list[str]) -> None:
    one = made(span_limits=SpanLimits(max_span_attributes=5))
    assert len(one.attributes) == 5
    assert one.dropped_attributes > 0
    assert public


def test_a_limit_on_the_length_of_values_holds(public: list[str]) -> None:
    one = made(span_limits=SpanLimits(max_span_attribute_length=3))
    assert one.attributes["text"] == "äää"
    assert public


class Asking(Sampler):
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def should_sample(self, *args: Any, **kwargs: Any) -> Any:
        self.seen.append(kwargs.get("attributes", args[4] if len(args) > 4 else None))
        return ALWAYS_ON.should_sample(*args, **kwargs)

    def get_description(self) -> str:
        return "asking"


@pytest.mark.parametrize("wrapped", (False, True))
def test_a_sampler_that_is_not_the_sdks_sees_the_attributes(wrapped: bool) -> None:
    asking = Asking()
    made(sampler=ParentBased(asking) if wrapped else asking)
    assert asking.seen[-1]["number"] == 7


def test_processors_of_a_provider_that_is_not_ours_see_the_attributes() -> None:
    reader = Reader()
    made(private=False, processor=reader)
    assert reader.seen[-1]["number"] == 7


def test_the_standard_samplers_read_no_attributes() -> None:
    for sampler in (ALWAYS_ON, TraceIdRatioBased(1), ParentBased(TraceIdRatioBased(1))):
        assert attributes.unread(TracerProvider(sampler=sampler, shutdown_on_exit=False).get_tracer("test"))
    assert not attributes.unread(object())


def test_an_sdk_of_another_shape_is_left_alone(monkeypatch: pytest.MonkeyPatch, public: list[str]) -> None:
    from opentelemetry import attributes as sdk_attributes

    class Other(sdk_attributes.BoundedAttributes):
        @property
        def _dict(self) -> Any:
            return {**self.__dict__["_dict"]}

        @_dict.setter
        def _dict(self, value: Any) -> None:
            self.__dict__["_dict"] = value

    with monkeypatch.context() as patched:
        patched.setattr(sdk_attributes, "BoundedAttributes", Other)
        attributes.learn()
    assert attributes._kind is None
    attributes.learn()
    assert attributes._kind is not None


@pytest.mark.parametrize("dialects", [("otel",), ("otel", "arms", "openinference")])
@pytest.mark.parametrize(
    "pairs",
    [
        (("gen_ai.provider.name", "openai"), ("gen_ai.request.model", "gpt"), ("nothing", None)),
        (("dify.app_id", "app"), ("word", "x")),
        (("word", "ä" * 2000), ("other", "a\ud800b")),
        (("number", 7), ("list", ["a"])),
        (),
    ],
)
def test_facts_in_one_piece_are_those_told_one_by_one(pairs: Any, dialects: tuple[str, ...]) -> None:
    found = []
    for before in (pairs, ready(pairs)):
        operation = Operation(concept="thing", name=lambda facts: "thing", before=lambda a, e, given=before: given)
        found.append(dict(made(operation=operation, dialects=dialects).attributes))
    assert found[0] == found[1]
    assert len(found[0]) >= len([value for _, value in pairs if value is not None])


def test_what_many_calls_have_in_common_is_one_piece() -> None:
    (one,) = ready((("a", "x"), ("b", "y"), ("c", None)))
    assert one == {"a": "x", "b": "y"}


def test_what_a_call_began_with_is_told_whatever_fails_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    failed: list[str] = []
    monkeypatch.setattr(guard, "failed", failed.append)

    def spelled(*given: Any) -> None:
        raise RuntimeError("an alias that cannot be made")

    monkeypatch.setattr(span.Call, "_spelled", spelled)
    assert made().attributes["number"] == 8
    assert failed == ["span.settle"]
