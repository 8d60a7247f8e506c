"""What Dify is given may be of any size and any spite: results, exceptions and streams stay as they are without us."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from dify_otel_instrumentors.core.operation import Content, Operation
from dify_otel_instrumentors.core.wrapper import instrument
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

ROOT = Path(__file__).resolve().parents[2]


class Bomb(Exception):
    """Goes off when it is looked at."""


def _explode(*_: Any, **__: Any) -> Any:
    raise Bomb


METHODS = (
    "__str__", "__repr__", "__getattr__", "__eq__", "__hash__", "__bool__", "__len__", "__iter__", "__contains__",
    "__getitem__", "__format__", "__bytes__", "__int__", "__float__", "__index__", "__dir__", "__reduce_ex__",
)  # fmt: skip
BOMBS = tuple(type(f"Bomb{name.strip('_').title()}", (), {name: _explode}) for name in METHODS)
EVERYTHING = type("BombEverything", (), dict.fromkeys(METHODS, _explode))


class NoAttributes:
    def __getattribute__(self, name: str) -> Any:
        raise Bomb


class LyingMapping(Mapping[Any, Any]):
    def __getitem__(self, key: Any) -> Any:
        raise Bomb

    def __iter__(self) -> Any:
        raise Bomb

    def __len__(self) -> int:
        return 10**9


class Endless(Sequence[str]):
    def __getitem__(self, index: Any) -> Any:
        return "endless"

    def __len__(self) -> int:
        return 2**62


class BadError(Exception):
    def __str__(self) -> str:
        raise Bomb

    __repr__ = __str__


def _cycle() -> Any:
    one: dict[str, Any] = {"list": []}
    one["list"].append(one)
    one["self"] = one
    return one


def _deep() -> Any:
    value: Any = "bottom"
    for _ in range(20_000):
        value = [value]
    return value


SPITE: Mapping[str, Callable[[], Any]] = {
    **{kind.__name__: kind for kind in (*BOMBS, EVERYTHING, NoAttributes, LyingMapping, Endless)},
    "cycle": _cycle,
    "deep": _deep,
    "surrogates": lambda: "\ud800 broken \udfff",
    "not UTF-8": lambda: b"\xff\xfe\x00" * 100,
    "control": lambda: "".join(map(chr, range(32))) + "\u2028\x00",
    "file": lambda: open(os.devnull),  # noqa: SIM115
    "module": lambda: sys,
    "class": lambda: type,
    "big integer": lambda: 10**5000,
    "numbers that are none": lambda: [float("nan"), float("inf"), -float("inf")],
    "a hundred megabytes": lambda: "x" * 100_000_000,
}

OPERATION = Operation(
    concept="thing",
    name=lambda facts: f"thing {facts.get('dify.thing')}"[:64] if type(facts.get("dify.thing")) is str else "thing",
    before=lambda a, e: [("dify.thing", a["value"]), ("gen_ai.input.messages", Content(a["value"]))],
    after=lambda call, result: [("dify.result", result), ("gen_ai.output.messages", Content(result))],
    during=lambda call, item: call.tell([("dify.item", item)]),
)


def given_back(value: Any, error: BaseException | None = None) -> Any:
    if error is not None:
        raise error
    return value


def streamed(value: Any, error: BaseException | None = None) -> Generator[Any, Any, Any]:
    yield value
    if error is not None:
        raise error
    return value


@pytest.mark.parametrize("name", SPITE)
@pytest.mark.parametrize("content", [False, True], ids=["no content", "content"])
def test_spite_passes_untouched_and_every_span_ends(
    name: str, content: bool, record: Any, quiet_guard: Any, caplog: Any
) -> None:
    recorded = record(content_on_spans=content, error_text=content)
    value = SPITE[name]()
    began = time.perf_counter()
    assert instrument(given_back, OPERATION)(value) is value
    stream = instrument(streamed, OPERATION)(value)
    assert next(stream) is value
    with pytest.raises(StopIteration) as stop:
        next(stream)
    assert stop.value.value is value
    for error in (Bomb(), BadError(), ValueError(value)):
        with pytest.raises(type(error)) as raised:
            instrument(given_back, OPERATION)(value, error)
        assert raised.value is error
        stream = instrument(streamed, OPERATION)(value, error)
        next(stream)
        with pytest.raises(type(error)) as raised:
            next(stream)
        assert raised.value is error
    assert time.perf_counter() - began < 5
    assert len(recorded.spans) == 8
    encoded = encode_spans(recorded.spans).SerializeToString()
    assert len(encoded) < 400_000
    # A line a minute and place, whatever is thrown at it.
    assert len(caplog.records) <= len(quiet_guard.counts())


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.builds(EVERYTHING)),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
        max_leaves=20,
    )
)
def test_a_nested_stream_gives_back_the_very_objects(value: Any) -> None:
    """Relay in relay in relay, as an app's stream around a model's: without an SDK, and with one that keeps nothing."""
    from dify_otel_instrumentors.core import guard, span
    from dify_otel_instrumentors.core.rules import Policy
    from opentelemetry.sdk.trace import TracerProvider

    def through(source: Any) -> Generator[Any, Any, Any]:
        return (yield from source)

    guard.loud(False)
    provider = TracerProvider(shutdown_on_exit=False)
    for tracer in (None, provider.get_tracer("test")):
        span.configure(tracer, Policy(content_on_spans=True))
        try:
            stream = instrument(streamed, OPERATION)(value)
            for _ in range(3):
                stream = instrument(through, OPERATION)(stream)
            assert next(stream) is value
            with pytest.raises(StopIteration) as stop:
                next(stream)
            assert stop.value.value is value
        finally:
            span.configure(None)


MEMORY = """
import resource, sys
from dify_otel_instrumentors.core import span
from dify_otel_instrumentors.core.operation import Content, Operation
from dify_otel_instrumentors.core.rules import Policy
from dify_otel_instrumentors.core.wrapper import instrument
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

kept = InMemorySpanExporter()
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(SimpleSpanProcessor(kept))
span.configure(provider.get_tracer("test"), Policy(content_on_spans=True))
thing = Operation(concept="thing", name=lambda f: "thing",
    before=lambda a, e: [("dify.a", a["value"]), ("gen_ai.input.messages", Content(a["value"]))],
    after=lambda call, result: [("gen_ai.output.messages", Content({"output": [result], "again": result}))])
GIGABYTE = 1 << 30
class Lazy:
    def __len__(self): return GIGABYTE
    def __iter__(self):
        while True: yield "x" * 1000
    def __getitem__(self, i): return "x"
value = {"text": lambda: "x" * GIGABYTE, "bytes": lambda: bytes(GIGABYTE), "lazy": Lazy,
         "array": lambda: bytearray(GIGABYTE), "repeated": lambda: ["x" * 1000] * (GIGABYTE // 8000)}[sys.argv[1]]()
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (128 << 20),) * 2)  # a copy of it would be refused
back = instrument(lambda value: value, thing)(value)
def stream(value):
    yield value
    return value
items = list(instrument(stream, thing)(value))
assert back is value and items[0] is value
spans = kept.get_finished_spans()
assert len(spans) == 2
assert all(len(v) < 20000 for s in spans for v in s.attributes.values() if isinstance(v, str))
from dify_otel_instrumentors.core import guard
print(guard.counts())
"""


@pytest.mark.parametrize("what", ["text", "bytes", "lazy", "array", "repeated"])
def test_a_gigabyte_of_output_is_never_copied(what: str) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("bootstrap", "instrumentors"))}
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, what], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "{}"


CONCEPTS = """
from types import SimpleNamespace as Thing
from dify_otel_instrumentors import model, tool
PIECE, PIECES = 16 << 20, 64

def limit():
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (128 << 20),) * 2)

def message(text):
    return Thing(type="text", message=Thing(text=text), meta={})

class Tool:
    entity = Thing(identity=Thing(name="crawl", provider="web"), description=None)
    runtime = None
    def tool_provider_type(self): return "api"
    def invoke(self, tool_parameters):
        for _ in range(PIECES): yield message("x" * PIECE)
    def at_once(self, tool_parameters):
        yield message(WHOLE)

class Model:
    provider, model_name = "langgenius/openai/openai", "gpt"
    def invoke_llm(self, prompt_messages, stream=True):
        for text in TEXTS: yield chunk(text)

def chunk(text):
    return Thing(model="gpt", delta=Thing(message=Thing(content=text, tool_calls=[]), usage=None, finish_reason=None))

what = sys.argv[1]
WHOLE = "x" * GIGABYTE if what.endswith("at once") else ""
TEXTS = ["x", WHOLE] if WHOLE else ("x" * PIECE for _ in range(PIECES))
limit()
stream = {
    "tool, piece by piece": lambda: instrument(Tool.invoke, tool.EXECUTE)(Tool(), {"a": 1}),
    "tool, at once": lambda: instrument(Tool.at_once, tool.EXECUTE)(Tool(), {"a": WHOLE}),
    "model, piece by piece": lambda: instrument(Model.invoke_llm, model.CHAT)(Model(), []),
    "model, at once": lambda: instrument(Model.invoke_llm, model.CHAT)(Model(), [Thing(role="user", content=WHOLE)]),
}[what]()
count = sum(1 for _ in stream)
assert count == (PIECES if "piece" in what else 2 if "model" in what else 1), count
(ended,) = kept.get_finished_spans()
told = [v for k, v in ended.attributes.items() if isinstance(v, str) and v.count("x") > 1000]
assert told and max(map(len, told)) < 20000, {k: str(v)[:80] for k, v in ended.attributes.items()}
from dify_otel_instrumentors.core import guard
print(guard.counts())
"""


@pytest.mark.parametrize("what", ["tool, piece by piece", "tool, at once", "model, piece by piece", "model, at once"])
def test_a_gigabyte_from_a_tool_or_a_model_is_neither_copied_nor_kept(what: str) -> None:
    """The concepts' own code: in one piece, and in pieces that Dify has long forgotten when the last one comes."""
    setting = MEMORY[: MEMORY.index("class Lazy")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("bootstrap", "instrumentors"))}
    done = subprocess.run(
        [sys.executable, "-c", setting + CONCEPTS, what],
        env=env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "{}", done.stderr


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.text() | st.integers() | st.just("sk-canary-secret-value"),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("api_key"), inner),
        max_leaves=30,
    ),
    st.integers(16, 500),
)
def test_content_is_json_bounded_and_tells_no_key(value: Any, limit: int) -> None:
    from dify_otel_instrumentors.core import content

    wrapped = {"api_key": "sk-canary-secret-value", "password": "sk-canary-secret-value", "value": _masked(value)}
    text = content.encode(wrapped, limit)
    json.loads(text)
    assert len(text) <= 6 * limit + 2000
    assert "sk-canary" not in text


def _masked(value: Any) -> Any:
    """The secret only where a key says that it is one."""
    if isinstance(value, dict):
        return {k: v if k == "api_key" else _masked(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_masked(v) for v in value]
    return "plain" if value == "sk-canary-secret-value" else value
