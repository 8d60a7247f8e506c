"""The relay's laws: whatever is done to a stream, the relayed one answers as the bare one, and its call ends once."""

from __future__ import annotations

import collections.abc
import contextvars
import gc
import inspect
from collections.abc import Callable, Generator
from types import GeneratorType
from typing import Any

import pytest
from dify_otel_instrumentors.core.stream import relay
from hypothesis import given, settings
from hypothesis import strategies as st


class Ledger:
    """A call that writes down what the relay does to it, and is current like a real one."""

    current: contextvars.ContextVar[str] = contextvars.ContextVar("current", default="outside")

    def __init__(self) -> None:
        self.ends: list[tuple[str, Any]] = []
        self.items: list[Any] = []
        self.inside = 0

    def enter(self) -> Any:
        self.inside += 1
        return self.current.set("inside")

    def leave(self, token: Any) -> None:
        self.inside -= 1
        self.current.reset(token)

    def observe(self, item: Any) -> None:
        self.items.append(item)

    def finish(self, result: Any = None) -> None:
        self.ends.append(("finish", result))

    def fail(self, error: BaseException) -> None:
        self.ends.append(("fail", error))


# --- sources


def plain() -> Generator[Any, Any, Any]:
    total = 0
    for i in range(3):
        got = yield i
        total += got or 0
    return total


def recovers() -> Generator[Any, Any, Any]:
    for i in range(3):
        try:
            yield i
        except ValueError as error:
            yield f"recovered {error}"
    return "done"


def raises() -> Generator[Any, Any, Any]:
    yield 1
    raise KeyError("mid")


def swallows_exit() -> Generator[Any, Any, Any]:
    try:
        yield 1
        yield 2
    except GeneratorExit:
        return "swallowed"
    return "end"


def ignores_exit() -> Generator[Any, Any, Any]:
    for i in range(4):
        try:
            yield i
        except GeneratorExit:
            yield "ignored"


def stops_wrongly() -> Generator[Any, Any, Any]:
    yield 1
    raise StopIteration("not a return")


def replaces() -> Generator[Any, Any, Any]:
    try:
        yield 1
        yield 2
    except Exception as error:
        raise LookupError("instead") from error


SOURCES = (plain, recovers, raises, swallows_exit, ignores_exit, stops_wrongly, replaces)

# --- scripts: each gives what a consumer sees

Outcome = list[Any]


def step(outcomes: Outcome, act: Callable[[], Any]) -> bool:
    try:
        outcomes.append(("item", act()))
        return True
    except BaseException as error:
        cause = error.__cause__
        outcomes.append((type(error), [str(a) for a in error.args], type(cause) if cause else None))
        return False


def drain(stream: Any) -> Outcome:
    out: Outcome = []
    while step(out, lambda: next(stream)):
        pass
    step(out, lambda: next(stream))  # past the end
    return out


def returned(stream: Any) -> Outcome:
    out: Outcome = []

    def outer() -> Generator[Any, Any, Any]:
        out.append(("value", (yield from stream)))

    driving = outer()
    while step(out, lambda: next(driving)):
        pass
    return out


def send(stream: Any) -> Outcome:
    out: Outcome = []
    step(out, lambda: next(stream))
    for value in (5, 7, 11, 13):
        step(out, lambda value=value: stream.send(value))
    return out


def throw(stream: Any) -> Outcome:
    out: Outcome = []
    step(out, lambda: next(stream))
    step(out, lambda: stream.throw(ValueError("thrown")))
    step(out, lambda: next(stream))
    return out


def throw_unstarted(stream: Any) -> Outcome:
    out: Outcome = []
    step(out, lambda: stream.throw(ValueError("early")))
    step(out, lambda: next(stream))
    return out


def close_midway(stream: Any) -> Outcome:
    out: Outcome = []
    step(out, lambda: next(stream))
    step(out, stream.close)
    step(out, lambda: next(stream))
    return out


def close_unstarted(stream: Any) -> Outcome:
    out: Outcome = []
    step(out, stream.close)
    step(out, lambda: next(stream))
    return out


def leave_the_process(stream: Any) -> Outcome:
    out: Outcome = []
    step(out, lambda: next(stream))
    step(out, lambda: stream.throw(SystemExit(3)))
    return out


SCRIPTS = (drain, returned, send, throw, throw_unstarted, close_midway, close_unstarted, leave_the_process)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("source", SOURCES, ids=lambda f: f.__name__)
def test_a_relayed_stream_answers_as_the_bare_one(source: Any, script: Any) -> None:
    ledger = Ledger()
    stream = relay(source(), ledger)
    assert script(stream) == script(source())
    assert ledger.inside == 0
    assert Ledger.current.get() == "outside"
    if stream.gi_frame is not None:  # a source that recovered or refused to be closed is still alive
        assert source in (recovers, ignores_exit)
        assert ledger.ends == []
        collections.deque(stream, maxlen=0)
    assert len(ledger.ends) == 1


ACTIONS = st.lists(
    st.one_of(
        st.just(("next", None)),
        st.tuples(st.just("send"), st.sampled_from([None, 1, "x"])),
        st.tuples(st.just("throw"), st.sampled_from([ValueError, KeyError, StopIteration, SystemExit, GeneratorExit])),
        st.just(("close", None)),
    ),
    max_size=9,
)


def perform(stream: Any, actions: list[tuple[str, Any]]) -> Outcome:
    out: Outcome = []
    for name, value in actions:
        # Each step in a context of its own, as Dify's threads and greenlets do it.
        context = contextvars.Context()
        if name == "next":
            step(out, lambda: context.run(next, stream))
        elif name == "send":
            # The one thing a relay cannot do: a first `send` of a value is an error after which a bare generator
            # is still fresh, and any generator that raised it is finished.
            if value is not None and not out:
                value = None
            step(out, lambda value=value: context.run(stream.send, value))
        elif name == "throw":
            step(out, lambda value=value: context.run(stream.throw, value("thrown")))
        else:
            step(out, lambda: context.run(stream.close))
    return out


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a dropped source that refuses to close
@settings(max_examples=300, deadline=None)
@given(source=st.sampled_from(SOURCES), actions=ACTIONS)
def test_any_sequence_of_steps_looks_the_same(source: Any, actions: list[tuple[str, Any]]) -> None:
    ledger = Ledger()
    stream = relay(source(), ledger)
    assert perform(stream, actions) == perform(source(), actions)
    assert ledger.inside == 0
    del stream
    assert len(ledger.ends) == (0 if source is ignores_exit and not ledger.ends else 1)


def test_the_relay_is_a_generator_to_whoever_asks() -> None:
    stream = relay(plain(), Ledger())
    assert type(stream) is GeneratorType
    assert isinstance(stream, GeneratorType)
    assert isinstance(stream, collections.abc.Generator)
    assert inspect.isgenerator(stream)


@pytest.mark.parametrize("read", [0, 1, 2])
def test_a_stream_dropped_unread_or_half_read_ends_its_call(read: int) -> None:
    ledger = Ledger()
    stream = relay(plain(), ledger)
    for _ in range(read):
        next(stream)
    assert ledger.ends == []
    del stream
    gc.collect()
    assert [kind for kind, _ in ledger.ends] == ["fail"]
    assert isinstance(ledger.ends[0][1], GeneratorExit)


def test_the_source_does_not_start_before_it_is_read() -> None:
    started = []

    def source() -> Generator[int, None, None]:
        started.append(True)
        yield 1

    stream = relay(source(), Ledger())
    assert started == []
    next(stream)
    assert started == [True]


def test_the_source_runs_inside_and_the_consumer_outside() -> None:
    seen: list[str] = []

    def source() -> Generator[str, Any, None]:
        try:
            seen.append(Ledger.current.get())
            yield "first"
            seen.append(Ledger.current.get())
            yield "second"
        finally:
            seen.append(Ledger.current.get())

    ledger = Ledger()
    stream = relay(source(), ledger)
    for _ in stream:
        assert Ledger.current.get() == "outside"
        if len(ledger.items) == 2:
            break
    stream.close()
    assert seen == ["inside"] * 3
    assert ledger.items == ["first", "second"]


def test_items_exceptions_and_results_are_the_same_objects() -> None:
    item, result, error = object(), object(), RuntimeError("the very one")

    def good() -> Generator[object, Any, object]:
        yield item
        return result

    def bad() -> Generator[object, Any, None]:
        yield item
        raise error

    ledger = Ledger()
    stream = relay(good(), ledger)
    assert next(stream) is item
    with pytest.raises(StopIteration) as stop:
        next(stream)
    assert stop.value.value is result
    assert ledger.ends == [("finish", result)]
    stream = relay(bad(), ledger)
    next(stream)
    with pytest.raises(RuntimeError) as raised:
        next(stream)
    assert raised.value is error
    assert ledger.ends[-1][1] is error


def test_under_opentelemetry_each_step_may_run_in_another_context(recorded: Any, caplog: Any) -> None:
    from dify_otel_instrumentors.core import span
    from dify_otel_instrumentors.core.operation import Operation
    from opentelemetry import trace

    operation = Operation(concept="thing", name=lambda facts: "thing", before=lambda a, e: ())
    seen = []

    def source() -> Generator[int, Any, None]:
        for i in range(3):
            seen.append(trace.get_current_span().get_span_context().span_id)
            yield i

    call, stream = span.follow(operation, {}, source())
    for _ in range(3):
        contextvars.Context().run(next, stream)
    contextvars.Context().run(lambda: list(stream))
    assert seen == [call.span.get_span_context().span_id] * 3
    assert [s.name for s in recorded.spans] == ["thing"]
    assert not caplog.records  # no "Failed to detach context"
    assert trace.get_current_span() is trace.INVALID_SPAN
