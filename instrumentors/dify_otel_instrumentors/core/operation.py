"""What a concept file exports: an `Operation` (a call that becomes a span) or a `Tap` (a call that only tells).

Data, not a class hierarchy: names, words and pure functions from arguments, items and results to pairs. Neither knows
OpenTelemetry, so that the seam table can be read before anything of it may be imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Pair = tuple[str, Any]
"""An attribute's name and value. `before` and `after` may also give an `Error`, a `Measure`, or what `ready` gives."""
Pairs = Iterable[Any]
Arguments = Mapping[str, Any]
"""A call's arguments by name, the receiver under `self` or `cls`; defaults filled in."""


READY_MAX = 256
"""Characters of a value that `ready` lets through in one piece."""


def ready(pairs: Iterable[Pair]) -> tuple[Any, ...]:
    """Pairs that many calls have in common, looked at once: in one piece where each value is a short ASCII string."""
    known = {key: value for key, value in pairs if value is not None}
    if all(type(value) is str and value.isascii() and len(value) <= READY_MAX for value in known.values()):
        return (known,)
    return tuple(known.items())


@dataclass(frozen=True, slots=True)
class Content:
    """A value that may only leave the process when content capture is on; encoded (bounded) only then."""

    value: Any


@dataclass(frozen=True, slots=True)
class Error:
    """How a call that raised nothing failed nevertheless: Dify turns many exceptions into events and results.

    `type` is of low cardinality (an exception class or a Dify error code); `text` is recorded with content only.
    """

    type: str
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Measure:
    """One point of a metric named in `core.metrics`; recorded whether or not the span is sampled.

    `labels` must be of low cardinality: no ids.
    """

    metric: str
    value: float
    labels: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """One unit of work that becomes one span.

    `concept` is the word for what it is; `name` makes the span name of the facts gathered by `before`; `before` sees
    `(arguments, enclosing)` at the start, `during` `(call, item)` per streamed item, `after` `(call, result)` at the
    end (result is None after an exception or when a stream was not read to its end). `before` and `after` give pairs.
    `stream` names the attribute of the result that holds the generator, when it is not the result itself.
    `applies` may refuse a call `(arguments, enclosing) -> bool`; `parent` may name another than the current span.
    `merge`: inside a call of the same concept, add to that span instead of making another, if `claims(call)` agrees.
    `opened(call, arguments)` runs once the span exists.
    `current_in_stream`: attach the span around every step of a stream (needed where the source does the work).
    """

    concept: str
    name: Callable[[Mapping[str, Any]], str]
    before: Callable[[Arguments, Any], Pairs]
    after: Callable[[Any, Any], Pairs] | None = None
    during: Callable[[Any, Any], None] | None = None
    kind: str = "internal"
    span_kind: str = "TASK"
    stream: str | None = None
    applies: Callable[[Arguments, Any], bool] | None = None
    parent: Callable[[Arguments], Any] | None = None
    opened: Callable[[Any, Arguments], None] | None = None
    merge: bool = False
    claims: Callable[[Any], bool] | None = None
    current_in_stream: bool = True


@dataclass(frozen=True, slots=True)
class Tap:
    """A call that is observed but makes no span.

    `before(arguments, enclosing)` runs ahead of it, `after(arguments, result, enclosing)` behind it; `replace` may
    answer another result (used for carriers only: it must behave as the original does). `enclosing` is the innermost
    call of ours around it, or None.
    """

    before: Callable[[Arguments, Any], None] | None = None
    after: Callable[[Arguments, Any, Any], None] | None = None
    replace: Callable[[Arguments, Any, Any], Any] | None = None
    only: Callable[[tuple[Any, ...]], bool] | None = None
    """Cheap test on the raw positional arguments, for functions called once a token."""


@dataclass(frozen=True, slots=True)
class Seam:
    """A place in Dify where one unit of work begins and ends.

    `targets` are the names (`module:Qualified.name`) that place has had, oldest first; each that exists is wrapped.
    `releases` claims where it must be found, as `first-last` (an open end means "to the newest"); `lost` says what a
    person misses when it is absent.
    """

    name: str
    does: Operation | Tap | Callable[[Any], Any]
    targets: tuple[str, ...]
    releases: tuple[str, ...] = ("1.6.0-",)
    lost: str = ""
    reads: tuple[str, ...] = ()
    """Parameters read by name (`self` excluded); a target that lacks one has drifted."""
