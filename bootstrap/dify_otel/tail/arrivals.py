"""When a request is worth showing.

Nothing in OTLP says "this trace is finished": batches come from several processes, each on its own clock. A trace is
due once its first span has ended and the trace has been quiet for a while; one whose first span never comes is due
later; and spans that come after it was shown make it due again. What is held is bounded: a stranger's load test
must not fill this machine.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from dify_otel.tail.span import Span
from dify_otel.tail.tree import Trace, build

MAX_TRACES = 500
"""Traces held at one time, shown ones included; the one that has been quiet longest goes first."""

MAX_SPANS_PER_TRACE = 5_000
"""Further spans of a trace are counted, not kept."""

MAX_SPANS = 50_000
"""Spans held in all; beyond it whole traces go, as with `MAX_TRACES`."""

REMOTE_PARENT_SECONDS = 5.0
"""Added when a server span names a parent outside: the gateway's own batch may be under way (5 s is OTel's default)."""

NO_ROOT_SECONDS = 30.0
"""Quiet time before a trace without any first span is shown: a long run sends its first nodes long before it ends."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A trace that is due."""

    trace: Trace
    again: bool
    """It was shown before; these are all its spans, the late ones included."""
    left_out: int
    """Spans beyond `MAX_SPANS_PER_TRACE`."""


@dataclass(slots=True)
class _Held:
    last: float
    spans: dict[str, Span] = field(default_factory=dict)
    left_out: int = 0
    shown: bool = False
    pending: bool = True


class Arrivals:
    """Spans go in as they come, traces come out when they are due. Not thread-safe: one thread owns it.

    Times are seconds on any steady clock; the caller passes them in, so a test need not wait.
    """

    def __init__(
        self,
        idle: float,
        max_traces: int = MAX_TRACES,
        max_spans_per_trace: int = MAX_SPANS_PER_TRACE,
        max_spans: int = MAX_SPANS,
    ) -> None:
        self._idle = idle
        self._max_traces = max_traces
        self._max_spans_per_trace = max_spans_per_trace
        self._max_spans = max_spans
        self._count = 0
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._crowded_out: list[Shown] = []

    def add(self, spans: Iterable[Span], now: float) -> None:
        for span in spans:
            held = self._held.get(span.trace_id)
            if held is None:
                held = self._held[span.trace_id] = _Held(now)
            self._held.move_to_end(span.trace_id)
            held.last = now
            known = span.span_id in held.spans
            if known or len(held.spans) < self._max_spans_per_trace:
                held.pending = held.pending or not known
                held.spans[span.span_id] = span
                self._count += not known
            else:
                held.left_out += 1
        while len(self._held) > self._max_traces or (self._count > self._max_spans and len(self._held) > 1):
            _, oldest = self._held.popitem(last=False)
            self._count -= len(oldest.spans)
            if oldest.pending:
                self._crowded_out.append(_show(oldest))

    def due(self, now: float) -> list[Shown]:
        """The traces that may be shown now, those quiet longest first."""
        found, self._crowded_out = self._crowded_out, []
        for held in self._held.values():
            quiet = now - held.last
            if held.pending and quiet >= self._idle and quiet >= self._wanted_quiet(held):
                found.append(_show(held))
        return found

    def rest(self) -> list[Shown]:
        """Everything not shown yet, finished or not."""
        found, self._crowded_out = self._crowded_out, []
        return found + [_show(held) for held in self._held.values() if held.pending]

    def _wanted_quiet(self, held: _Held) -> float:
        spans = held.spans.values()
        if any(not span.parent_id for span in spans):
            return self._idle
        if any(span.kind == "SERVER" and span.parent_id not in held.spans for span in spans):
            return self._idle + REMOTE_PARENT_SECONDS
        return max(self._idle, NO_ROOT_SECONDS)


def _show(held: _Held) -> Shown:
    again, held.shown, held.pending = held.shown, True, False
    return Shown(build(held.spans.values()), again, held.left_out)
