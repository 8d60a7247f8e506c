"""A received span as plain data.

The receiver, the tree, the terminal and the page all speak of spans; none of them should have to know
protobuf or the OpenTelemetry SDK to do so. Times are integer nanoseconds since the epoch, as on the wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Value = str | bool | int | float | bytes | list["Value"] | dict[str, "Value"] | None


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at one moment inside a span, such as an exception."""

    name: str
    time_ns: int
    attributes: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Link:
    """A reference to a span of another story: a paused run, the trigger of a run."""

    trace_id: str
    span_id: str
    attributes: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Span:
    """One finished span. Ids are lower-case hex; `parent_id` is empty for the first span of a trace."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    """INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER or UNSPECIFIED."""
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Value] = field(default_factory=dict)
    status: str = "UNSET"
    """UNSET, OK or ERROR."""
    status_message: str = ""
    events: tuple[Event, ...] = ()
    links: tuple[Link, ...] = ()
    resource: Mapping[str, Value] = field(default_factory=dict)
    scope: str = ""
    scope_version: str = ""

    @property
    def service(self) -> str:
        """The resource's `service.name`, empty when the sender gave none."""
        name = self.resource.get("service.name")
        return name if isinstance(name, str) else ""

    @property
    def duration(self) -> float:
        """Seconds; never negative, whatever the sender's clock did."""
        return max(0, self.end_ns - self.start_ns) / 1e9

    @property
    def failed(self) -> bool:
        return self.status == "ERROR"
