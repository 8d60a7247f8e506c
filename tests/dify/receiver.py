"""The far end of the exporters of a real Dify: what arrived, by trace, and the wait until no more comes.

It is the backend of the fault suite, so that a collector which refuses or dawdles is the same one with another mode.
"""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Self

from dify_otel.tail.span import Span

from tests.faults.backend import Backend

QUIET_SECONDS = 1.5
"""Without a new span for so long, everything has arrived: a batch leaves every 200 ms here."""


class Receiver(Backend):
    """`with Receiver("grpc") as receiver:`; `mode` decides how it answers."""

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    def settle(self, seconds: float = QUIET_SECONDS, limit: float = 30.0) -> None:
        """Waits until nothing has arrived for a while, at most `limit` seconds."""
        until = time.monotonic() + limit
        known, since = len(self.spans), time.monotonic()
        while time.monotonic() - since < seconds and time.monotonic() < until:
            time.sleep(0.1)
            if len(self.spans) != known:
                known, since = len(self.spans), time.monotonic()

    def await_server_span(self, trace_id: str, limit: float = 10.0) -> None:
        """Waits for the span that ends last, the request's; what is wrong when it never comes is the judge's to say."""
        until = time.monotonic() + limit
        while time.monotonic() < until:
            if any(s.kind == "SERVER" and s.name.startswith("POST /v1/") for s in self.trace(trace_id)):
                return
            time.sleep(0.1)

    def trace(self, trace_id: str) -> list[Span]:
        return [s for s in list(self.spans) if s.trace_id == trace_id]

    def by_trace(self) -> dict[str, list[Span]]:
        found: dict[str, list[Span]] = defaultdict(list)
        for span in list(self.spans):
            found[span.trace_id].append(span)
        return dict(found)
