"""One span's life. A `Call` gathers facts, is current while Dify's function runs, and ends once. None of it raises.

Facts become attributes in one pass (`Call._take`): dialects are applied, content passes the gate or is dropped, numbers
stay numbers. What lies below a call (SQL, Redis, HTTP) is rolled up into it and into every call around it. Below a
sampled-out parent no span is made: a call is then only what the metrics need, or nothing.
"""

from __future__ import annotations

import contextvars
import enum
from collections.abc import Callable, Mapping
from time import perf_counter, time_ns
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace

from . import attributes, collected, content, guard, metrics, rules, semconv
from .context import CALL
from .operation import Content, Error, Measure, Operation
from .rules import Policy
from .stream import relay

KINDS = {
    "internal": trace.SpanKind.INTERNAL,
    "server": trace.SpanKind.SERVER,
    "client": trace.SpanKind.CLIENT,
    "producer": trace.SpanKind.PRODUCER,
    "consumer": trace.SpanKind.CONSUMER,
}

TEXT_MAX = 1024
"""Characters of a metadata string or an error text."""
INTEGER_MAX = 2**63
FLOAT_MAX = 10**308
ITEMS_MAX = 128
"""Elements of a list attribute."""
DEPTH_MAX = 64
"""Calls around a call that its SQL, Redis and HTTP are added to."""

CANCELLED = (GeneratorExit,)


Emit = Callable[[str, Mapping[str, Any], Any], None]
"""Emits an event: its name, attributes, and the context of the span it belongs to."""

EVENTS: Mapping[str, str] = {"chat": "gen_ai.client.inference.operation.details"}
"""The event of a concept's calls (semantic conventions 1.37)."""


_completed: Callable[[Any], None] | None = None


def on_completion(hook: Callable[[Any], None] | None) -> None:
    """From now on `hook` is given each finished model call, while content is on. It must not raise; None: nobody."""
    global _completed
    _completed = hook


_OFF = trace.NonRecordingSpan(trace.SpanContext(1, 1, is_remote=False, trace_flags=trace.TraceFlags(0)))
_SPAN = next(iter(trace.set_span_in_context(_OFF, otel_context.Context())))
"""The key OpenTelemetry keeps the current span under."""


class _Runtime:
    __slots__ = ("aliases", "constants", "emit", "parent_decides", "policy", "special", "tracer", "unread")

    def __init__(self, tracer: trace.Tracer, policy: Policy, emit: Emit | None, private: bool) -> None:
        self.tracer = tracer
        self.emit = emit
        self.policy = policy
        self.aliases = semconv.aliases(policy.dialects)
        self.special = semconv.INHERITED | self.aliases.keys()
        self.constants = {kind: self._constant(kind) for kind in semconv.SPAN_KINDS}
        # Asked of the sampler itself: somebody may have wrapped it. The span is never ended, so never exported.
        probe = tracer.start_span("sampled out", context=otel_context.Context({_SPAN: _OFF}))
        self.parent_decides = not probe.is_recording()
        attributes.learn()
        self.unread = private and attributes.unread(tracer)

    def _constant(self, span_kind: str) -> dict[str, Any]:
        out = {}
        if "arms" in self.policy.dialects:
            out["gen_ai.span.kind"] = "TASK" if span_kind == "GUARDRAIL" else span_kind
            out["gen_ai.framework"] = "dify"
        if "openinference" in self.policy.dialects:
            out["openinference.span.kind"] = semconv.SPAN_KINDS.get(span_kind, "CHAIN")
        return out


_runtime: _Runtime | None = None


def configure(
    tracer: trace.Tracer | None, policy: Policy | None = None, emit: Emit | None = None, private: bool = True
) -> None:
    """From now on calls become spans of `tracer` (None: calls run untouched), their events go to `emit`.

    `private`: nobody adds span processors to the tracer's provider that read a span as it starts.
    """
    global _runtime
    rules.set_policy(policy)
    if tracer is None:
        collected.forget()
    else:
        collected.watch()
    _runtime = None if tracer is None else _Runtime(tracer, policy or Policy(), emit, private)


def _plain(value: Any) -> Any:
    """`value` as OpenTelemetry may carry it, bounded; None if it may not."""
    kind = type(value)
    if kind is str:
        return content.sound(value if len(value) <= TEXT_MAX else value[:TEXT_MAX])
    if kind is int:
        # OTLP has no wider integer; the exporter would log the value's attribute with a traceback.
        return value if -INTEGER_MAX <= value < INTEGER_MAX else float(value) if abs(value) < FLOAT_MAX else None
    if kind is float or kind is bool or value is None:
        return value
    try:
        return _unusual(value, kind)
    except Exception:
        # A proxy outside of its context raises at `isinstance` already: that fact is lost, not the span.
        return None


def _unusual(value: Any, kind: type) -> Any:
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if isinstance(value, str):
        return content.sound(str.__str__(value)[:TEXT_MAX])
    if isinstance(value, bool | int | float):
        return _plain(kind.__base__(value)) if kind.__base__ in (int, float) else None
    if isinstance(value, list | tuple):
        items = [_plain(v) for v in value[:ITEMS_MAX] if not isinstance(v, list | tuple)]
        items = [v for v in items if isinstance(v, str | int | float | bool)]
        if len({type(v) for v in items}) > 1:  # OpenTelemetry refuses a list of several types
            items = [v if isinstance(v, str) else str(v) for v in items]
        return tuple(items) or None
    if kind.__name__ == "UUID" or kind.__name__ == "Decimal":
        return str(value)[:64] if kind.__name__ == "UUID" else float(value)
    return None


_NOTHING_CUT: frozenset[str] = frozenset()


def _cuts(values: list[Any] | tuple[Any, ...]) -> frozenset[str]:
    """What of a list attribute does not fit: `list`, `text`."""
    found = {"list"} if len(values) > ITEMS_MAX else set()
    for value in values[:ITEMS_MAX]:
        if type(value) is str and len(value) > TEXT_MAX:
            found.add("text")
    return frozenset(found)


def end_time(span: Any, began: float, stopped: float | None = None) -> int:
    """Now, in nanoseconds; where the clock was set back meanwhile, the start and what passed since `began`.

    `stopped`: when it was over, if that was not now.
    """
    now = time_ns()
    start = getattr(span, "start_time", None) or 0
    if stopped is None and now >= start:
        return now
    return int(start + ((stopped or perf_counter()) - began) * 1e9)


class Call:
    """One call of an instrumented function. `state` is the concept's own scratch space while it lasts."""

    __slots__ = (
        "_aliased",
        "_began",
        "_contents",
        "_context",
        "_cuts",
        "_error",
        "_facts",
        "_io",
        "_late",
        "_lent",
        "_passed",
        "_stopped",
        "arguments",
        "ended",
        "first_item",
        "inherited",
        "muted",
        "operation",
        "parent",
        "span",
        "spent",
        "state",
    )

    def __init__(self, operation: Operation, arguments: Mapping[str, Any], parent: Call | None) -> None:
        self.operation = operation
        self.arguments: Mapping[str, Any] | None = arguments
        self.parent = parent
        if parent is not None:
            # Shared with the parent until this call passes on something of its own.
            self.inherited: dict[str, Any] = parent.inherited
            self._passed: dict[str, Any] = parent._passed
            self.spent: list[float] = parent.spent
        else:
            self.inherited = {}
            self._passed = {}
            self.spent = [0.0]
        self.state: dict[str, Any] = {}
        self.ended = False
        self.muted = False
        self.first_item: float | None = None
        self._error: Error | None = None
        self._io: dict[str, list[float]] | None = None
        self._facts: dict[str, Any] = {}
        self._late: dict[str, Any] = {}
        self._aliased: list[str] = []
        self._contents: dict[str, Content] | None = None
        self._cuts = _NOTHING_CUT
        self._began = perf_counter()
        self._stopped: float | None = None
        self.span: trace.Span = trace.INVALID_SPAN
        self._context: Any = None
        self._lent: Any = None

    # --- facts

    def elapsed(self) -> float:
        """Seconds since the call began."""
        return (self._stopped or perf_counter()) - self._began

    def chunk(self) -> float | None:
        """Seconds to the first piece of the answer, if there was one."""
        return self.first_item

    def note_chunk(self) -> None:
        """A piece of the answer passed; the first one stops the clock."""
        if self.first_item is None:
            self.first_item = perf_counter() - self._began

    def tell(self, pairs: Any) -> None:
        """Add facts that became known while the call lasts."""
        try:
            self._take(pairs, self._late)
        except Exception:
            guard.failed(f"{self.operation.concept}.tell")

    def nearest(self, concept: str) -> Call | None:
        """The innermost call of that concept, this one included."""
        call: Call | None = self
        for _ in range(DEPTH_MAX):
            if call is None or call.operation.concept == concept:
                return call
            call = call.parent
        return None

    def error(self, error: Error) -> None:
        """The call failed although nothing is raised. `after` may still say so."""
        if self.arguments is not None:
            self._error = error

    def clear_error(self) -> None:
        """What looked like a failure was none."""
        self._error = None

    def fact(self, key: str) -> Any:
        """A fact told so far, or inherited."""
        return self._facts.get(key) or self.inherited.get(key)

    @property
    def context(self) -> Any:
        """The OpenTelemetry context in which this call is the current one."""
        return self._context

    @property
    def traceparent(self) -> str | None:
        """This span in W3C form, to be kept where the process may not live to see the rest; None without a span."""
        context = self.span.get_span_context()
        if not context.is_valid:
            return None
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"

    @property
    def failure(self) -> Error | None:
        """How the call is known to have failed, if it has."""
        return self._error

    @property
    def failed(self) -> str | None:
        """`error.type` if the call is known to have failed."""
        return self._error.type if self._error else None

    def io(self, kind: str, seconds: float, failed: bool = False, slow: bool = False) -> int:
        """Something below this call took `seconds`: add it here and to the calls around.

        Answers how many slow ones of the kind the outermost of these calls has seen.
        """
        call: Call | None = self
        seen = 0
        for _ in range(DEPTH_MAX):
            if call is None:
                break
            if call._io is None:
                call._io = {}
            entry = call._io.get(kind)
            if entry is None:
                entry = call._io[kind] = [0, 0.0, 0, 0]
            entry[0] += 1
            entry[1] += seconds
            if failed:
                entry[2] += 1
            if slow:
                entry[3] += 1
            seen = int(entry[3])
            call = call.parent
        return seen

    def lend(self, inner: Call) -> None:
        """From the next step on, and for what is left of this one, `inner` is current in this call's place."""
        self._lent = inner._context
        try:
            # Not detached here: the relay's own token, taken before this step, puts everything back.
            otel_context.attach(inner._context)
        except Exception:
            guard.failed("span.lend")

    def stay_in(self, variables: Any) -> None:
        """Be current in that copy of the context's variables as well, from where Dify sets them back."""
        if isinstance(variables, contextvars.Context) and self._context is not None:
            variables.run(otel_context.attach, self._context)

    def restore(self) -> None:
        """Take back what was lent."""
        self._lent = None

    # --- life

    def enter(self) -> Any:
        context = self._lent or self._context
        if context is None:
            return None
        try:
            return otel_context.attach(context)
        except Exception:
            guard.failed("span.attach")
            return None

    def leave(self, token: Any) -> None:
        if token is None:
            return
        try:
            otel_context.detach(token)
        except Exception:
            guard.failed("span.detach")

    def observe(self, item: Any) -> None:
        during = self.operation.during
        if during is None:
            return
        try:
            during(self, item)
        except Exception:
            guard.failed(f"{self.operation.concept}.during")

    def fail(self, error: BaseException) -> None:
        if self.ended:
            return
        try:
            if collected._collecting is not None and _put_off(self, self.fail, error):
                return
            if isinstance(error, CANCELLED):
                # Many consumers stop reading after the last item they need: that is an end, not a cancellation.
                if not self.state.get("complete"):
                    self.state["cancelled"] = True
                    self._take((("dify.stream.outcome", "cancelled"),), self._late)
            elif self._error is None:
                self._error = Error(type(error).__qualname__, _text(error))
                self.state["raised"] = True
        except Exception:
            guard.failed("span.fail")
        self.finish(None)

    def finish(self, result: Any = None) -> None:
        if self.ended:
            return
        try:
            if collected._collecting is not None and _put_off(self, self.finish, result):
                return
        except Exception:
            guard.failed("span.put_off")
        self.ended = True
        try:
            began = perf_counter()
            after = self.operation.after
            if after is not None:
                try:
                    self._take(after(self, result), self._late)
                except Exception:
                    guard.failed(f"{self.operation.concept}.after")
            span = self.span
            if not self.muted and span.is_recording():
                self._settle(span)
        except Exception:
            guard.failed("span.end")
        finally:
            try:
                if not self.muted:
                    span = self.span
                    span.end(end_time(span, self._began, self._stopped))
            except Exception:
                guard.failed("span.end")
            self.arguments = None
            self.state = {}
            # The context holds this call: without this each call would wait for the garbage collector.
            self._context = self._lent = None
            try:
                spent = self.spent
                spent[0] += perf_counter() - began
                if self.parent is None:
                    metrics.record("dify.otel.overhead", spent[0], {})
            except Exception:
                guard.failed("span.spent")

    def _settle(self, span: trace.Span) -> None:
        """Put what is known now onto the span: what it began with too, where nobody could have read that before."""
        late, runtime = self._late, _runtime
        try:
            if self._io:
                for kind, (count, seconds, failures, slow) in self._io.items():
                    rolled: dict[str, float | None] = {"count": int(count), "duration": round(seconds, 6)}
                    rolled |= {"errors": int(failures) or None, "slow": int(slow) or None}
                    self._take([(f"dify.io.{kind}.{key}", value) for key, value in rolled.items()], late)
            if self._error is not None:
                self._take((("error.type", self._error.type),), late)
            if runtime is not None and (self._aliased or self._contents):
                self._spelled(late, runtime, runtime.policy.content_on_spans)
        except Exception:
            guard.failed("span.settle")
        if late:
            attributes.put(span, late)
        if self._error is not None:
            self._mark()
        for reason in self._cuts:
            metrics.record("dify.otel.spans.truncated", 1, {"reason": reason})
        if runtime is not None and (runtime.emit is not None or _completed is not None):
            self._emit(runtime)

    def _emit(self, runtime: _Runtime) -> None:
        """The event of a finished call, with content where the gate lets it onto events."""
        name = EVENTS.get(self.operation.concept)
        if name is None:
            return
        if _completed is not None and runtime.policy.content:
            _completed(self)
        if runtime.emit is None:
            return
        # Spelled afresh: content on events has a gate of its own.
        event = Call(self.operation, {}, None)
        out: dict[str, Any] = {}
        event._take({**self.inherited, **self._facts}.items(), out)
        runtime.emit(name, event._spelled(out, runtime, runtime.policy.content_on_events), self._context)

    def _mark(self) -> None:
        error = self._error
        if error is None:
            return
        text = None
        if _runtime is not None and _runtime.policy.error_text and error.text:
            text, short = content.encoded(error.text, TEXT_MAX)
            if short:
                self._cuts = self._cuts | {"text"}
        self.span.set_status(trace.StatusCode.ERROR, text)
        facts = {"exception.type": error.type}
        if text:
            facts["exception.message"] = text
        self.span.add_event("exception", facts)

    def _take(self, pairs: Any, out: dict[str, Any]) -> None:
        """Keep what `before`, `tell` or `after` gives, and put it into `out` as OpenTelemetry may carry it."""
        runtime = _runtime
        if runtime is None or not pairs:
            return
        special, facts, muted, inherited = runtime.special, self._facts, self.muted, semconv.INHERITED
        for pair in pairs:
            if type(pair) is tuple:
                key, value = pair
                if value is None:
                    continue
                facts[key] = value
                if muted:
                    if key in inherited:
                        self.inherited = {**self.inherited, key: _plain(value)}
                    continue
                kind = type(value)
                if kind is str:
                    if len(value) > TEXT_MAX:
                        value = value[:TEXT_MAX]
                        self._cuts = self._cuts | {"text"}
                    if not value.isascii():
                        value = content.sound(value)
                elif kind is Content:
                    # Waits until the span is known to record: encoding it is the costly part.
                    if self._contents is None:
                        self._contents = {}
                    self._contents[key] = value
                    continue
                elif kind is int:
                    if not -INTEGER_MAX <= value < INTEGER_MAX:
                        value = _plain(value)
                        if value is None:
                            continue
                elif kind is not float and kind is not bool:
                    if kind is list or kind is tuple:
                        self._cuts = self._cuts | _cuts(value)
                    value = _plain(value)
                    if value is None:
                        continue
                out[key] = value
                if key in special:
                    if key in inherited:
                        self._pass(key, value, out, runtime.aliases)
                    else:
                        self._aliased.append(key)
            elif type(pair) is Measure:
                labels = metrics.owned(pair.metric, pair.labels, self) if metrics.by_owner else pair.labels
                metrics.record(pair.metric, pair.value, labels)
            elif type(pair) is Error:
                self._error = pair
            elif type(pair) is dict:
                if special.isdisjoint(pair):
                    facts.update(pair)
                    if not muted:
                        out.update(pair)
                else:
                    self._take(pair.items(), out)

    def _pass(self, key: str, value: Any, out: dict[str, Any], aliases: Mapping[str, Any]) -> None:
        """From now on every span below carries `key`, in each dialect."""
        passed = {key: value}
        for alias, transform in aliases.get(key, ()):
            passed[alias] = value if transform is None else transform(value)
        out.update(passed)
        self.inherited = {**self.inherited, key: value}
        self._passed = {**self._passed, **passed}

    def _spelled(self, out: dict[str, Any], runtime: _Runtime, with_content: bool) -> dict[str, Any]:
        """`out` with the content that may go there, and with each dialect's names."""
        contents = self._contents
        if contents and with_content:
            limit = runtime.policy.content_limit
            for key, held in contents.items():
                out[key], short = content.encoded(held.value, limit)
                if short:
                    self._cuts = self._cuts | {"content"}
                self._aliased.append(key)
        for key in self._aliased:
            if key in out:
                for alias, transform in runtime.aliases.get(key, ()):
                    if alias not in out:
                        out[alias] = out[key] if transform is None else transform(out[key])
        self._aliased = []
        return out


class Merged:
    """A call inside another of the same concept: its facts go to that one, and it ends nothing."""

    __slots__ = ("_call", "_operation", "ended", "parent", "state")

    def __init__(self, call: Call, operation: Operation) -> None:
        self._call = call
        self._operation = operation
        self.ended = False
        self.parent = call
        self.state: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def enter(self) -> Any:
        return self._call.enter()

    def leave(self, token: Any) -> None:
        self._call.leave(token)

    def observe(self, item: Any) -> None:
        if self._operation.during is None:
            return
        try:
            self._operation.during(self, item)
        except Exception:
            guard.failed(f"{self._operation.concept}.during")

    def finish(self, result: Any = None) -> None:
        if self.ended:
            return
        try:
            if collected._collecting is not None and _put_off(None, self.finish, result):
                return
        except Exception:
            guard.failed("span.put_off")
        self.ended = True
        try:
            if self._operation.after is not None and not self._call.ended:
                self._call.tell(self._operation.after(self, result))
        except Exception:
            guard.failed(f"{self._operation.concept}.after")

    def fail(self, error: BaseException) -> None:
        # Whether the enclosing call fails as well is for the enclosing call to see.
        try:
            if not isinstance(error, CANCELLED) and not self._call.failed:
                self._call.error(Error(type(error).__qualname__, _text(error)))
        except Exception:
            guard.failed("span.fail")
        self.finish(None)


def _put_off(call: Call | None, end: Callable[[Any], None], value: Any) -> bool:
    """Whether the garbage collector asks for this end, which then waits; `call` is over all the same."""
    if not collected.now():
        return False
    if call is not None:
        call._stopped = perf_counter()
    collected.later(end, value)
    return True


def _text(error: BaseException) -> str:
    """An exception's text. `str(error)` runs foreign code, so it happens here, guarded, and only when wanted."""
    if not rules.policy().error_text:
        return ""
    try:
        return str(error)
    except Exception:
        return ""


def _links(traceparents: Any) -> list[trace.Link] | None:
    """Links to spans in W3C form; what is not in that form is left out."""
    links = []
    for value in traceparents or ():
        parts = value.split("-") if isinstance(value, str) else ()
        if len(parts) == 4 and len(parts[1]) == 32 and len(parts[2]) == 16:
            try:
                context = trace.SpanContext(
                    int(parts[1], 16), int(parts[2], 16), True, trace.TraceFlags(int(parts[3], 16))
                )
            except ValueError:
                continue
            if context.is_valid:
                links.append(trace.Link(context))
    return links or None


def _open(operation: Operation, call: Any, arguments: Mapping[str, Any]) -> None:
    if operation.opened is None:
        return
    try:
        operation.opened(call, arguments)
    except Exception:
        # The span has begun: without its concept's notes it is still better ended than lost.
        guard.failed(f"{operation.concept}.opened")


def begin(operation: Operation, arguments: Mapping[str, Any]) -> Any:
    """Start a call, or None when it is not to be recorded. Never raises."""
    runtime = _runtime
    if runtime is None:
        return None
    try:
        if collected._waiting:
            collected.catch_up()
        current = otel_context.get_current()
        if current.get("suppress_instrumentation"):
            return None
        around = operation.parent(arguments) if operation.parent is not None else None
        if around is None:
            around = current
        enclosing: Any = around.get(CALL)
        above: Any = around.get(_SPAN)
        if enclosing is None:
            # A span that only comes to be when something happens below it: now something does.
            claim = getattr(above, "claim", None)
            if claim is not None:
                claim()
            muted = above is not None and runtime.parent_decides and _sampled_out(above)
        else:
            muted = enclosing.muted and above is enclosing.span
        if muted and enclosing is not None and not metrics.active():
            return None
        if operation.applies is not None and not operation.applies(arguments, enclosing):
            return None
        if operation.merge and enclosing is not None:
            same = enclosing if enclosing.operation.concept == operation.concept else None
            if same is not None and not same.ended and (operation.claims is None or operation.claims(same)):
                same.tell(operation.before(arguments, same))
                merged = Merged(same, operation)
                _open(operation, merged, arguments)
                return merged
        call = Call(operation, arguments, enclosing)
        if muted:
            call.muted = True
            call.span = above
            call._take(operation.before(arguments, enclosing), {})
            call._context = otel_context.Context({**around, CALL: call})
        else:
            start = dict(call._passed)
            call._take(operation.before(arguments, enclosing), start)
            facts = call._facts
            span_kind = operation.span_kind
            if "span_kind" in facts:
                span_kind = facts.pop("span_kind")
                start.pop("span_kind", None)
            links = None
            if "links" in facts:
                links = _links(facts.pop("links"))
                start.pop("links", None)
            if runtime.unread:
                call._late = start
            elif call._aliased:
                call._spelled(start, runtime, False)
            constant = runtime.constants.get(span_kind)
            start.update(runtime._constant(span_kind) if constant is None else constant)
            call.span = runtime.tracer.start_span(
                content.sound(operation.name(facts)[:TEXT_MAX]),
                context=around,
                kind=KINDS[operation.kind],
                attributes=None if runtime.unread else start,
                links=links,
                start_time=time_ns(),
            )
            call.muted = runtime.parent_decides and not call.span.is_recording()
            call._context = otel_context.Context({**around, _SPAN: call.span, CALL: call})
        if operation.opened is not None:
            _open(operation, call, arguments)
        return call
    except Exception:
        guard.failed(f"{operation.concept}.begin")
        return None


def _sampled_out(above: trace.Span) -> bool:
    if above.is_recording():
        return False
    parent = above.get_span_context()
    return parent.is_valid and not parent.trace_flags & trace.TraceFlags.SAMPLED


def follow(operation: Operation, arguments: Mapping[str, Any], source: Any) -> tuple[Any, Any]:
    """A call around a generator that already exists: `(call, relay)`, or `(None, source)` when not recorded."""
    began = perf_counter()
    call = begin(operation, arguments)
    if call is None:
        return None, source
    try:
        call.spent[0] += perf_counter() - began
        return call, relay(source, call)
    except Exception:
        guard.failed(f"{operation.concept}.relay")
        call.finish(None)
        return None, source
