"""A call's life: what becomes an attribute, what is held back, how it fails, and what lies below and around it."""

from __future__ import annotations

import decimal
import enum
import uuid
from typing import Any

import pytest
from dify_otel_instrumentors.core import context, rules, semconv, span
from dify_otel_instrumentors.core.operation import Content, Error, Measure, Operation
from dify_otel_instrumentors.core.wrapper import binder, instrument
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF


def operation(concept: str = "thing", **more: Any) -> Operation:
    more.setdefault("before", lambda arguments, enclosing: ())
    return Operation(concept=concept, name=lambda facts: facts.get("name", concept), **more)


class Kind(enum.Enum):
    WORD = "word"


class Level(enum.IntEnum):
    HIGH = 3


class Words(str):
    pass


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("text", "text"),
        ("", ""),
        (Words("text"), "text"),
        ("x" * 5000, "x" * span.TEXT_MAX),
        ("a\ud800b", "a?b"),
        (5, 5),
        (2**63 - 1, 2**63 - 1),
        (2**63, float(2**63)),
        (10**400, None),
        (0.5, 0.5),
        (True, True),
        (Kind.WORD, "word"),
        (Level.HIGH, 3),
        (decimal.Decimal("0.25"), 0.25),
        (uuid.UUID(int=7), str(uuid.UUID(int=7))),
        (["a", None, "b"], ("a", "b")),
        ([1, "a"], ("1", "a")),
        ((1, 2), (1, 2)),
        ([], None),
        ([None], None),
        (list(range(1000)), tuple(range(span.ITEMS_MAX))),
        ({"a": 1}, None),
        (object(), None),
        (b"bytes", None),
        (None, None),
    ],
    ids=lambda v: str(v)[:20] if not isinstance(v, int) else "int",
)
def test_attribute_types(recorded: Any, value: Any, told: Any) -> None:
    instrument(lambda: None, operation(before=lambda a, e: [("fact", value)], after=lambda c, r: [("late", value)]))()
    attributes = recorded.spans[0].attributes
    for key in ("fact", "late"):
        assert attributes.get(key) == told
        assert type(attributes.get(key)) is type(told)


@settings(max_examples=150, deadline=None)
@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None, exclude_categories=())),
    lambda inner: st.lists(inner, max_size=4), max_leaves=8))  # fmt: skip
def test_whatever_a_fact_is_the_exporter_can_encode_it(value: Any) -> None:
    plain = span._plain(value)
    if isinstance(plain, tuple):
        assert len({type(v) for v in plain}) == 1
    for item in plain if isinstance(plain, tuple) else [plain]:
        if type(item) is str:
            item.encode("utf-8")
        elif type(item) is int:
            assert -(2**63) <= item < 2**63
        else:
            assert item is None or type(item) in (bool, float)


def test_a_name_of_lone_surrogates_can_be_exported(recorded: Any) -> None:
    instrument(lambda: None, operation(before=lambda a, e: [("name", "a\ud800")]))()
    encode_spans(recorded.spans).SerializeToString()


# --- content and errors


CONTENT = operation(
    before=lambda a, e: [("dify.app.inputs", Content({"q": "CANARY"})), ("plain", 1)],
    after=lambda c, r: [("dify.app.outputs", Content(r))],
)


def attributes_text(recorded: Any) -> str:
    return "".join(
        f"{s.name}{dict(s.attributes)}{s.status.description}{[dict(e.attributes) for e in s.events]}"
        for s in recorded.spans
    )


def test_content_stays_at_home_by_default(recorded: Any) -> None:
    instrument(lambda: "CANARY", CONTENT)()
    assert "CANARY" not in attributes_text(recorded)
    keys = set(recorded.spans[0].attributes)
    assert keys == {"plain", "gen_ai.span.kind", "gen_ai.framework"}


def test_content_is_told_when_asked_for_and_in_each_dialect(record: Any) -> None:
    recorded = record(content_on_spans=True)
    instrument(lambda: "CANARY", CONTENT)()
    attributes = recorded.spans[0].attributes
    assert attributes["dify.app.inputs"] == attributes["input.value"] == '{"q":"CANARY"}'
    assert attributes["dify.app.outputs"] == attributes["output.value"] == "CANARY"


def test_content_can_go_to_events_only(record: Any) -> None:
    seen: list[Any] = []
    recorded = record(content_on_events=True, emit=lambda *event: seen.append(event))
    chat = operation("chat", before=CONTENT.before, after=CONTENT.after)
    instrument(lambda: "CANARY", chat)()
    instrument(lambda: "CANARY", CONTENT)()
    assert "CANARY" not in attributes_text(recorded)
    assert [name for name, _, _ in seen] == ["gen_ai.client.inference.operation.details"]
    assert seen[0][1]["dify.app.outputs"] == "CANARY"
    assert trace.get_current_span(seen[0][2]).get_span_context() == recorded.spans[0].context


def test_events_without_content(record: Any) -> None:
    seen: list[Any] = []
    record(emit=lambda *event: seen.append(event))
    instrument(lambda: "CANARY", operation("chat", before=CONTENT.before, after=CONTENT.after))()
    assert len(seen) == 1 and "CANARY" not in repr(seen[0][1]) and seen[0][1]["plain"] == 1


class Unreadable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("error", [ValueError("CANARY"), Unreadable("CANARY"), KeyboardInterrupt("CANARY")], ids=repr)
def test_an_error_tells_its_class_and_its_text_only_when_asked(record: Any, text: bool, error: BaseException) -> None:
    recorded = record(error_text=text)

    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        instrument(fail, operation())()
    assert raised.value is error
    told = recorded.spans[0]
    assert told.status.status_code is trace.StatusCode.ERROR
    assert told.attributes["error.type"] == type(error).__qualname__
    assert [e.name for e in told.events] == ["exception"]
    assert ("CANARY" in attributes_text(recorded)) is (text and not isinstance(error, Unreadable))


def test_error_texts_are_bounded_and_scrubbed(record: Any) -> None:
    recorded = record(error_text=True)
    instrument(lambda: None, operation(after=lambda c, r: c.error(Error("broken", "?sign=SECRET&" + "x" * 9000))))()
    description = recorded.spans[0].status.description
    assert "SECRET" not in description and len(description) <= span.TEXT_MAX


def test_stopping_a_stream_is_no_error(recorded: Any) -> None:
    stream = instrument(lambda: (i for i in range(3)), operation())()
    next(stream)
    stream.close()
    told = recorded.spans[0]
    assert told.status.status_code is trace.StatusCode.UNSET
    assert told.attributes["dify.stream.outcome"] == "cancelled"
    assert "error.type" not in told.attributes


def test_the_first_error_stands_and_can_be_taken_back(recorded: Any) -> None:
    def before(call: Any) -> None:
        call.error(Error("first"))

    def fails() -> Any:
        context.current().error(Error("from an event"))
        raise ValueError

    with pytest.raises(ValueError):
        instrument(fails, operation())()
    instrument(lambda: context.current().error(Error("first")), operation(after=lambda c, r: c.clear_error()))()
    assert [s.attributes.get("error.type") for s in recorded.spans] == ["from an event", None]


# --- around and below


def test_calls_nest_inherit_and_find_each_other(recorded: Any) -> None:
    found: list[Any] = []

    def inner() -> None:
        call = context.current()
        found.extend([call.nearest("outer").state["note"], call.nearest("nothing"), call.fact("dify.app_id")])

    nested = instrument(inner, operation("inner"))
    middle = instrument(nested, operation("middle", before=lambda a, e: [("dify.message.id", "m"), ("own", 1)]))
    outer = operation("outer", before=lambda a, e: [("dify.app_id", "app")], opened=lambda c, a: c.state.update(note=7))
    instrument(middle, outer)()
    spans = {s.name: s for s in recorded.spans}
    assert found == [7, None, "app"]
    assert spans["inner"].parent.span_id == spans["middle"].context.span_id
    assert spans["middle"].parent.span_id == spans["outer"].context.span_id
    assert (spans["inner"].attributes["dify.app_id"], spans["inner"].attributes["dify.message.id"]) == ("app", "m")
    assert "own" not in spans["inner"].attributes and "dify.message.id" not in spans["outer"].attributes
    assert context.current() is None


def test_what_lies_below_is_rolled_up_into_every_call_around(recorded: Any) -> None:
    def inner() -> None:
        context.current().io("sql", 0.25)
        context.current().io("sql", 0.5, failed=True)

    def outer() -> None:
        context.current().io("redis", 0.125)
        instrument(inner, operation("inner"))()

    instrument(outer, operation("outer"))()
    inner_facts, outer_facts = (
        {k: v for k, v in s.attributes.items() if k.startswith("dify.io")} for s in recorded.spans
    )
    assert inner_facts == {"dify.io.sql.count": 2, "dify.io.sql.duration": 0.75, "dify.io.sql.errors": 1}
    assert outer_facts == {**inner_facts, "dify.io.redis.count": 1, "dify.io.redis.duration": 0.125}


def test_merging(recorded: Any) -> None:
    inner = operation("thing", merge=True, before=lambda a, e: [("inner", 1)], after=lambda c, r: [("result", r)])
    other = operation("other", merge=True)

    def work() -> Any:
        instrument(lambda: "other", other)()
        return instrument(lambda: "inner", inner)()

    assert instrument(work, operation("thing"))() == "inner"
    assert [s.name for s in recorded.spans] == ["other", "thing"]
    assert (recorded.spans[1].attributes["inner"], recorded.spans[1].attributes["result"]) == (1, "inner")
    refused = operation("thing", merge=True, claims=lambda call: False)
    instrument(instrument(lambda: None, refused), operation("thing"))()
    assert [s.name for s in recorded.spans[2:]] == ["thing", "thing"]


def test_a_merged_stream_tells_the_call_around_it(recorded: Any) -> None:
    inner = operation("thing", merge=True, during=lambda c, i: c.state.setdefault("seen", []).append(i),
                      after=lambda c, r: [("seen", c.state["seen"])])  # fmt: skip
    assert instrument(lambda: list(instrument(lambda: (i for i in range(3)), inner)()), operation("thing"))() == [
        0,
        1,
        2,
    ]
    assert [dict(s.attributes)["seen"] for s in recorded.spans] == [(0, 1, 2)]


def test_lending_and_restoring(recorded: Any) -> None:
    current: list[str] = []
    name = lambda: current.append(context.current().operation.concept)  # noqa: E731

    def source() -> Any:
        name()
        yield 1
        inner = span.begin(operation("inner"), {})
        context.current().lend(inner)
        name()
        yield 2
        name()
        yield 3
        inner.finish()
        outer_call[0].restore()
        yield 4
        name()

    outer_call: list[Any] = []
    stream = instrument(source, operation("outer", opened=lambda c, a: outer_call.append(c)))()
    for _ in stream:
        assert context.current() is None
    assert current == ["outer", "inner", "inner", "outer"]
    assert [s.name for s in recorded.spans] == ["inner", "outer"]


def test_links_and_traceparent(recorded: Any) -> None:
    paused: list[str] = []
    instrument(lambda: paused.append(context.current().traceparent), operation("first"))()
    links = [paused[0], "nonsense", "00-zz-zz-01", None, 7, "00-" + "0" * 32 + "-" + "0" * 16 + "-01"]
    instrument(lambda: None, operation("second", before=lambda a, e: [("links", links)]))()
    first, second = recorded.spans
    assert [link.context.span_id for link in second.links] == [first.context.span_id]
    assert second.parent is None and "links" not in second.attributes


def test_refused_suppressed_and_switched_off_calls_run_alone(recorded: Any) -> None:
    from opentelemetry import context as otel_context

    refused = instrument(context.current, operation(applies=lambda a, e: False))
    assert refused() is None
    token = otel_context.attach(otel_context.set_value("suppress_instrumentation", True))
    instrument(lambda: None, operation())()
    otel_context.detach(token)
    span.configure(None)
    instrument(lambda: None, operation())()
    assert recorded.spans == []


def test_a_call_that_is_not_sampled_still_measures(record: Any) -> None:
    recorded = record(sampler=ALWAYS_OFF, content_on_spans=True)
    encoded: list[Any] = []

    class Watched(dict[str, Any]):
        def items(self) -> Any:
            encoded.append(True)
            return super().items()

    measuring = operation(
        before=lambda a, e: [("c", Content(Watched(a=1)))],
        after=lambda c, r: [Measure("dify.app.requests", 1, {"outcome": "success"}), ("c2", Content(Watched(a=1)))],
    )
    instrument(lambda: None, measuring)()
    assert recorded.spans == [] and encoded == []
    assert [p.value for p in recorded.points("dify.app.requests")] == [1]


def test_only_the_result_that_was_given_comes_back(recorded: Any) -> None:
    result = object()
    assert instrument(lambda: result, operation(after=lambda c, r: [("same", r is result)]))() is result
    assert recorded.spans[0].attributes["same"] is True


class Holder:
    def __init__(self, generator: Any) -> None:
        self.generator = generator


def test_a_stream_inside_the_result_is_relayed_in_place(recorded: Any) -> None:
    holder = Holder(i for i in range(2))
    streaming = operation(
        stream="generator", during=lambda c, i: c.note_chunk(), after=lambda c, r: [("first", c.chunk())]
    )
    assert instrument(lambda: holder, streaming)() is holder
    assert recorded.spans == []
    assert list(holder.generator) == [0, 1]
    assert recorded.spans[0].attributes["first"] > 0
    instrument(lambda: Holder("no stream"), streaming)()
    assert len(recorded.spans) == 2


def test_arguments_are_read_by_name() -> None:
    def function(self: Any, a: Any, /, b: Any = 2, *rest: Any, c: Any = 3, **more: Any) -> None: ...

    bind = binder(function)
    assert bind(("s", 1), {}) == {"self": "s", "a": 1, "b": 2, "c": 3}
    assert bind(("s", 1, 5, 6, 7), {"c": 8, "d": 9}) == {"self": "s", "a": 1, "b": 5, "c": 8, "d": 9}
    assert bind((), {}) == {"b": 2, "c": 3}
    first, second = bind(("s",), {}), bind(("s",), {})
    first["b"] = "changed"
    assert second["b"] == 2


@pytest.mark.parametrize(
    ("mode", "external", "internal", "told"),
    [
        ("external", "caller", "uuid", "caller"),
        ("external", None, "uuid", "uuid"),
        ("internal", "caller", "uuid", "uuid"),
        ("off", "caller", "uuid", None),
        ("hash", None, None, None),
    ],
)
def test_user_ids(record: Any, mode: str, external: Any, internal: Any, told: Any) -> None:
    record(user_id=mode)
    assert rules.user_id(external, internal) == told


def test_hashed_user_ids_depend_on_the_salt_and_hide_the_name(record: Any) -> None:
    record(user_id="hash", user_id_salt="one")
    first = rules.user_id("caller", "uuid")
    record(user_id="hash", user_id_salt="two")
    second = rules.user_id("caller", "uuid")
    assert first and second and first != second and "caller" not in first
    assert first.isalnum() and len(first) == 16


# --- names

TARGETS = {
    "input.value", "output.value", "gen_ai.session.id", "gen_ai.user.id", "gen_ai.usage.total_tokens",
    "gen_ai.response.time_to_first_token", "gen_ai.user.time_to_first_token", "gen_ai.response.finish_reason", "tool.name",  # noqa: E501
    "tool.description", "tool.parameters", "retrieval.query", "retrieval.document", "session.id", "llm.model_name",
    "llm.provider", "llm.token_count.prompt", "llm.token_count.completion", "llm.token_count.total", "llm.cost.prompt",
    "llm.cost.completion", "llm.cost.total", "reranker.query", "llm.finish_reason",
    "llm.token_count.prompt_details.cache_read", "llm.token_count.prompt_details.cache_write",
    "llm.token_count.completion_details.reasoning", "gen_ai.system", "gen_ai.prompt", "gen_ai.completion",
    "gen_ai.request.top_k", "gen_ai.usage.cache_creation.input_tokens",
}  # fmt: skip


def test_every_alias_is_a_name_some_backend_reads() -> None:
    used = {alias for table in semconv.ALIASES.values() for names in table.values() for alias, _ in names}
    assert used == TARGETS
    for table in semconv.ALIASES.values():
        for key, names in table.items():
            assert key.startswith(("gen_ai.", "dify.", "user."))
            assert len({alias for alias, _ in names}) == len(names)


def test_transformations() -> None:
    table = semconv.aliases(("arms",))
    assert table["gen_ai.response.time_to_first_chunk"][0][1](0.25) == 250_000_000  # type: ignore[misc]
    assert table["gen_ai.response.finish_reasons"][0][1](["stop"]) == "stop"  # type: ignore[misc]
    assert semconv.aliases(("otel",)) == {}
    both = semconv.aliases(("arms", "openinference"))
    assert [a for a, _ in both["gen_ai.conversation.id"]] == ["gen_ai.session.id", "session.id"]
    assert [a for a, _ in both["dify.app.inputs"]] == ["input.value"]


def test_ids_that_are_inherited() -> None:
    assert {
        "dify.app_id",
        "dify.tenant_id",
        "dify.workflow.run_id",
        "dify.message.id",
        "gen_ai.conversation.id",
        "user.id",
    } < (semconv.INHERITED)


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("langgenius/openai/openai", "openai"),
        ("langgenius/azure_openai/azure_openai", "azure.ai.openai"),
        ("langgenius/bedrock/bedrock", "aws.bedrock"),
        ("langgenius/gemini/google", "gcp.gemini"),
        ("langgenius/vertex_ai/vertex_ai", "gcp.vertex_ai"),
        ("langgenius/x/x", "x_ai"),
        ("langgenius/tongyi/tongyi", "tongyi"),
        ("openai", "openai"),
        ("", None),
        (None, None),
    ],
)
def test_provider_names(raw: Any, name: Any) -> None:
    assert semconv.provider_name(raw) == name


@pytest.mark.parametrize(
    ("raw", "reason"),
    [("stop", "stop"), ("end_turn", "stop"), ("STOP", "stop"), ("tool_calls", "tool_call"), ("function_call", "tool_call"),  # noqa: E501
     ("max_tokens", "length"), ("length", "length"), ("SAFETY", "content_filter"), ("content_filter", "content_filter"),
     ("Recitation", "recitation"), ("", None), (None, None)],
)  # fmt: skip
def test_finish_reasons(raw: Any, reason: Any) -> None:
    assert semconv.finish_reason(raw) == reason


@pytest.mark.parametrize("dialects", [("otel",), ("otel", "arms"), ("otel", "openinference")])
def test_span_kinds_by_dialect(record: Any, dialects: tuple[str, ...]) -> None:
    recorded = record(dialects=dialects)
    for kind in semconv.SPAN_KINDS:
        instrument(lambda: None, operation(span_kind=kind))()
    for told, kind in zip(recorded.spans, semconv.SPAN_KINDS, strict=True):
        arms = "TASK" if kind == "GUARDRAIL" else kind  # ARMS knows no guardrails
        assert told.attributes.get("gen_ai.span.kind") == (arms if "arms" in dialects else None)
        assert told.attributes.get("openinference.span.kind") == (
            semconv.SPAN_KINDS[kind] if "openinference" in dialects else None
        )
