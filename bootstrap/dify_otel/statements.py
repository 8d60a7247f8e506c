"""SQL statements and Redis commands, of which nearly all are fast: what is told about them is a count and their time.

OpenTelemetry's instrumentations describe a statement before it runs. Most are never shown (`DIFY_OTEL_INFRA_SPANS`),
and a workflow of Dify makes hundreds of them a request. Here each is only timed, and the instrumentation is asked to
describe those that turned out slow or failed, afterwards: it is called once more, around an answer that is there.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter, time_ns
from typing import Any

from dify_otel_instrumentors.core import guard
from dify_otel_instrumentors.core.context import CALL
from opentelemetry import context as otel_context
from opentelemetry import trace

from dify_otel.infra import SLOW_MAX, TOLD, WAITING, Deferred, Rules


def _shown(rules: Rules, io: str, seconds: float, failed: bool, slow: bool) -> bool:
    """Add a statement that is over to the calls around; whether it becomes a span."""
    context = otel_context.get_current()
    call: Any = context.get(CALL)
    seen = 0
    if call is not None:
        if not call.span.is_recording():
            return False
        seen = call.io(io, seconds, failed, slow)
    if rules.infra_spans == "off" or not (failed or (slow and seen <= SLOW_MAX)):
        return False
    if call is not None:
        return True
    around = trace.get_current_span(context)
    return around.is_recording() and not isinstance(around, Deferred)


def _tell(seconds: float, error: BaseException | None, describe: Callable[..., Any], *arguments: Any) -> None:
    """Let an instrumentation describe what took `seconds` until now."""
    ended = time_ns()
    token = TOLD.set((ended - int(seconds * 1e9), ended, None if error is None else type(error).__qualname__))
    try:
        describe(*arguments)
    finally:
        TOLD.reset(token)


def time_calls(owner: Any, method: str, rules: Rules, io: str, waiting: Callable[[Any], bool]) -> None:
    """Take the place of an instrumentation's wrapper of `owner.method`.

    `waiting` tells by a call's arguments whether it is not slow however long it takes.
    """
    import wrapt  # as the instrumentations do, whose `uninstrument` undoes it

    theirs = vars(owner).get(method)
    original, describe = getattr(theirs, "__wrapped__", None), getattr(theirs, "_self_wrapper", None)
    if original is None or describe is None:
        return

    def timed(call: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        began = perf_counter()
        try:
            answer = call(*args, **kwargs)
        except BaseException as error:
            over(began, instance, args, kwargs, error, None)
            raise
        over(began, instance, args, kwargs, None, answer)
        return answer

    def over(began: float, instance: Any, args: Any, kwargs: Any, error: BaseException | None, answer: Any) -> None:
        try:
            seconds = perf_counter() - began
            slow = seconds >= rules.slow_seconds and not waiting(args)
            # A greenlet that is killed and a client that goes away are no errors of what was asked.
            if _shown(rules, io, seconds, isinstance(error, Exception), slow):
                _tell(seconds, error, describe, lambda *_, **__: answer, instance, args, kwargs)
        except Exception:
            guard.failed("statements.over")

    setattr(owner, method, original)
    wrapt.wrap_function_wrapper(owner, method, timed)


def time_commands(owner: Any, rules: Rules) -> None:
    """Time the commands of `owner`, a Redis client class that is instrumented."""
    time_calls(owner, "execute_command", rules, "redis", lambda args: str(args[0]).upper().startswith(WAITING))


_LISTENERS = ("before_cursor_execute", "after_cursor_execute", "handle_error")
_POOL = ("connect", "close", "checkin", "checkout")


def time_engine(engine: Any, registered: list[Any], rules: Rules) -> None:
    """Take the place of an instrumentation's listeners on `engine`, which are among the `registered` (a weak reference
    to the engine, event, function). Those of its pool go: they are for metrics that are switched off.
    """
    import sqlalchemy

    theirs = {event: function for target, event, function in registered if target() is engine}
    if not all(event in theirs for event in _LISTENERS):
        return
    describe, described, _ = (theirs[event] for event in _LISTENERS)

    def before(conn: Any, cursor: Any, statement: Any, params: Any, context: Any, many: bool) -> tuple[Any, Any]:
        try:
            context._dify_otel_began = perf_counter()
        except Exception:
            guard.failed("statements.before")
        return statement, params

    def after(conn: Any, cursor: Any, statement: Any, params: Any, context: Any, many: bool) -> None:
        over(context, None, conn, cursor, statement, params)

    def failed(error: Any) -> None:
        try:
            context = error.execution_context
            cursor = getattr(context, "cursor", None)
            over(context, error.original_exception, error.connection, cursor, error.statement, error.parameters)
        except Exception:
            guard.failed("statements.failed")

    def over(context: Any, error: BaseException | None, *about: Any) -> None:
        try:
            began = getattr(context, "_dify_otel_began", None)
            if began is None:  # before the listeners were there, or before there was a statement
                return
            seconds = perf_counter() - began
            if _shown(rules, "sql", seconds, isinstance(error, Exception), seconds >= rules.slow_seconds):
                _tell(seconds, error, tell, *about, context, False)
        except Exception:
            guard.failed("statements.over")

    def tell(*about: Any) -> None:
        describe(*about)
        described(*about)

    ours: dict[str, Any] = dict(zip(_LISTENERS, (before, after, failed), strict=True))
    kept = []
    for target, event, function in registered:
        if target() is not engine or event not in (*_LISTENERS, *_POOL):
            kept.append((target, event, function))
            continue
        sqlalchemy.event.remove(engine, event, function)
        if event in ours:
            sqlalchemy.event.listen(engine, event, ours[event], retval=event == _LISTENERS[0])
            kept.append((target, event, ours[event]))
    registered[:] = kept
