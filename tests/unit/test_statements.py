"""Statements that are described afterwards: the same spans as those described before, and nothing for the rest."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Iterator
from types import SimpleNamespace as Shape
from typing import Any

import pytest
import redis
import sqlalchemy
from dify_otel import infra, statements
from dify_otel_instrumentors.core import span
from dify_otel_instrumentors.core.operation import Operation
from opentelemetry import context as otel_context
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from opentelemetry.trace import StatusCode

NODE = Operation(concept="node", name=lambda facts: "node", before=lambda arguments, enclosing: ())
SLOW = 0.03


class Killed(BaseException):
    """As gevent ends a greenlet."""


def answer(client: Any, *args: Any, **options: Any) -> Any:
    """`redis.Redis.execute_command` without a server."""
    if args[-1] == "slow":
        time.sleep(SLOW)
    if args[-1] == "killed":
        raise Killed
    if args[-1] == "broken":
        raise redis.ResponseError("WRONGTYPE of a secret")
    return [args, options]


class Process:
    """A process with a database and a Redis client, instrumented as `infra.start` does."""

    def __init__(self, mode: str, slow_ms: float, sampler: Any) -> None:
        self.keep = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False, sampler=sampler)
        self.provider.add_span_processor(SimpleSpanProcessor(self.keep))
        span.configure(self.provider.get_tracer("ours"))
        self.engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.pool.StaticPool)
        self.redis = redis.Redis(db=2)
        rules = infra.Rules(mode, slow_ms)
        extension = Shape(engines={None: self.engine})
        app = Shape(extensions={"sqlalchemy": extension}, app_context=contextlib.nullcontext)
        infra._sqlalchemy(infra.GatedProvider(self.provider, rules, "sql"), app, rules)
        infra._redis(infra.GatedProvider(self.provider, rules, "redis"), rules)

    def node(self, work: Any) -> Any:
        call = span.begin(NODE, {})
        token = call.enter()
        try:
            return work()
        finally:
            call.leave(token)
            call.finish()

    def spans(self) -> list[Any]:
        return [s for s in self.keep.get_finished_spans() if s.name != "node"]

    def facts(self) -> dict[str, Any]:
        (node,) = [s for s in self.keep.get_finished_spans() if s.name == "node"]
        return dict(node.attributes or {})


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(redis.Redis, "execute_command", answer)

    def start(mode: str = "slow", slow_ms: float = SLOW * 500, sampler: Any = ALWAYS_ON) -> Process:
        stop()
        return Process(mode, slow_ms, sampler)

    def stop() -> None:
        for instrumentor in (RedisInstrumentor(), SQLAlchemyInstrumentor()):
            if instrumentor.is_instrumented_by_opentelemetry:
                instrumentor.uninstrument()
        span.configure(None)

    yield start
    stop()
    assert redis.Redis.execute_command is answer
    assert not hasattr(sqlalchemy.engine.base.Engine.connect, "__wrapped__")
    assert otel_context.get_current() == otel_context.Context()


def work(made: Process) -> None:
    with made.engine.connect() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE t (a INTEGER PRIMARY KEY)"))
        connection.execute(sqlalchemy.text("INSERT INTO t VALUES (:a)"), [{"a": 1}, {"a": 2}])
        assert connection.execute(sqlalchemy.text("SELECT a FROM t ORDER BY a")).all() == [(1,), (2,)]
        with pytest.raises(sqlalchemy.exc.IntegrityError) as caught:
            connection.execute(sqlalchemy.text("INSERT INTO t VALUES (1)"))
        assert not any("describe" in line for line in traceback.format_tb(caught.tb))
    assert made.redis.execute_command("GET", "key", of="x") == [("GET", "key"), {"of": "x"}]
    with pytest.raises(redis.ResponseError):
        made.redis.execute_command("LPUSH", "broken")


def told(spans: list[Any]) -> list[Any]:
    """What a span says, without its times and the names of errors, which the instrumentation of SQL does not know."""
    return [
        (s.name, s.kind, s.status.status_code, {k: v for k, v in s.attributes.items() if k != "error.type"})
        for s in spans
        if s.name != "connect"
    ]


def test_what_is_shown_is_described_as_if_it_were_shown_live(process: Any) -> None:
    live, after = process("all"), None
    live.node(lambda: work(live))
    expected = told(live.spans())
    after = process("slow", slow_ms=0)
    after.node(lambda: work(after))
    assert told(after.spans()) == expected
    assert [name.split()[0] for name, *_ in expected] == ["CREATE", "INSERT", "SELECT", "INSERT", "GET", "LPUSH"]
    assert after.facts()["dify.io.sql.count"] == live.facts()["dify.io.sql.count"] == 5
    assert after.facts()["dify.io.redis.count"] == live.facts()["dify.io.redis.count"] == 2
    errors = [s.attributes["error.type"] for s in after.spans() if s.status.status_code is StatusCode.ERROR]
    assert errors == ["IntegrityError", "ResponseError"]


def test_quick_ones_are_counted_and_failed_ones_shown(process: Any) -> None:
    made = process("slow", slow_ms=60_000)
    made.node(lambda: work(made))
    assert [s.name.split()[0] for s in made.spans()] == ["INSERT", "LPUSH"]
    facts = made.facts()
    assert (facts["dify.io.sql.count"], facts["dify.io.redis.count"]) == (5, 2)


def test_off_shows_none_and_counts(process: Any) -> None:
    made = process("off", slow_ms=0)
    made.node(lambda: work(made))
    assert made.spans() == []
    assert made.facts()["dify.io.sql.count"] == 5


def test_a_slow_command_lasts_as_long_as_it_did_where_it_did(process: Any) -> None:
    made = process()
    began = time.time_ns()
    made.node(lambda: [made.redis.execute_command("GET", key) for key in ("quick", "slow", "quick")])
    (shown,) = made.spans()
    assert SLOW * 1e9 <= shown.end_time - shown.start_time <= time.time_ns() - began
    assert shown.start_time >= began
    (node,) = [s for s in made.keep.get_finished_spans() if s.name == "node"]
    assert shown.parent.span_id == node.context.span_id
    assert made.facts()["dify.io.redis.slow"] == 1


def test_waiting_is_no_slowness_and_being_killed_no_error(process: Any) -> None:
    made = process()

    def wait() -> None:
        made.redis.execute_command("XREAD", "slow")
        with pytest.raises(Killed):
            made.redis.execute_command("GET", "killed")

    made.node(wait)
    assert made.spans() == []
    assert made.facts()["dify.io.redis.count"] == 2
    assert "dify.io.redis.slow" not in made.facts()


def test_an_error_arrives_as_it_was_raised(process: Any) -> None:
    made = process()

    def depth() -> Any:
        with pytest.raises(redis.ResponseError) as caught:
            made.redis.execute_command("GET", "broken")
        return [frame.name for frame in traceback.extract_tb(caught.tb)], caught.value.__context__

    bare_names, _ = depth()
    names, context = made.node(depth)
    assert names == bare_names and context is None
    assert len(made.spans()) == 1


def test_nobody_around_means_nothing(process: Any) -> None:
    made = process("slow", slow_ms=0)
    work(made)
    assert made.spans() == []
    quiet = process("slow", slow_ms=0, sampler=ALWAYS_OFF)
    quiet.node(lambda: work(quiet))
    assert quiet.spans() == []


def test_at_most_so_many_slow_ones(process: Any) -> None:
    made = process("slow", slow_ms=0)
    made.node(lambda: [made.redis.execute_command("GET", "key") for _ in range(infra.SLOW_MAX + 5)])
    assert len(made.spans()) == infra.SLOW_MAX
    assert made.facts()["dify.io.redis.slow"] == infra.SLOW_MAX + 5


def test_an_instrumentation_of_another_shape_is_left_alone() -> None:
    class Client:
        def execute_command(self) -> str:
            return "theirs"

    statements.time_commands(Client, infra.Rules())
    assert Client().execute_command() == "theirs"
    engine = sqlalchemy.create_engine("sqlite://")
    registered: list[Any] = [(lambda: engine, "before_cursor_execute", print)]
    statements.time_engine(engine, registered, infra.Rules())
    assert registered[0][2] is print
