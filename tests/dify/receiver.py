"""The far end of the exporters of a real Dify: what arrived, by trace, and the wait until no more comes.

It is the backend of the fault suite, so that a collector which refuses or dawdles is the same one with another mode.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Self

from dify_otel.tail.span import Span

from tests.faults.backend import Backend

QUIET_SECONDS = 1.5
"""Without a new span for so long, everything has arrived: a batch leaves every 200 ms here."""


class Receiver(Backend):
    """`with Receiver("grpc") as receiver:`; `mode` decides how it answers."""

    def __init__(self, protocol: str) -> None:
        super().__init__(protocol)
        self.metrics: list[bytes] = []
        """Export requests with metrics as they came: names of instruments stand in them as they are."""

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    def _keep(self, signal: str, body: bytes) -> None:
        super()._keep(signal, body)
        if signal == "metrics":
            self.metrics.append(body)

    def clear(self) -> None:
        self.spans.clear()
        self.metrics.clear()

    def settle(self, seconds: float = QUIET_SECONDS, limit: float = 30.0) -> None:
        """Waits until nothing has arrived for a while, at most `limit` seconds."""
        until = time.monotonic() + limit
        known, since = len(self.spans), time.monotonic()
        while time.monotonic() - since < seconds and time.monotonic() < until:
            time.sleep(0.1)
            if len(self.spans) != known:
                known, since = len(self.spans), time.monotonic()

    def await_spans(self, wanted: Callable[[Span], bool], limit: float = 10.0) -> list[Span]:
        """The spans that are so, as soon as there is one; none when none comes in time."""
        until = time.monotonic() + limit
        while not (found := [s for s in list(self.spans) if wanted(s)]) and time.monotonic() < until:
            time.sleep(0.1)
        return found

    def await_metric(self, name: str, limit: float = 15.0) -> bool:
        """Whether such a metric has come, or comes in time."""
        until = time.monotonic() + limit
        while not (found := any(name.encode() in body for body in self.metrics)) and time.monotonic() < until:
            time.sleep(0.1)
        return found

    def await_server_span(self, trace_id: str, top: str = "POST /v1/") -> None:
        """Waits for the span that ends last, the request's; what is wrong when it never comes is the judge's to say."""
        self.await_spans(lambda s: s.trace_id == trace_id and s.kind == "SERVER" and s.name.startswith(top))

    def trace(self, trace_id: str) -> list[Span]:
        return [s for s in list(self.spans) if s.trace_id == trace_id]

    def by_trace(self) -> dict[str, list[Span]]:
        found: dict[str, list[Span]] = defaultdict(list)
        for span in list(self.spans):
            found[span.trace_id].append(span)
        return dict(found)
