"""From a heap of spans to a tree, whatever came, in whatever order.

Spans of one request come from several processes, in batches, sometimes twice, sometimes without their parent.
The rules here are pure so that they can be checked as laws: the same spans give the same tree in every order,
every span appears exactly once, and nothing (a cycle, a missing parent) makes a span vanish.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from dify_otel.tail.span import Span


@dataclass(frozen=True, slots=True)
class Node:
    """A span in its place. Positions are indexes into `Trace.nodes`."""

    span: Span
    depth: int
    parent: int
    """Position of the parent, -1 at the top."""
    children: tuple[int, ...]
    orphan: bool
    """The span names a parent that has not been received (or that is its own descendant)."""
    end: int
    """One past the last position of this span's own subtree: `nodes[i + 1:end]` are its descendants."""


@dataclass(frozen=True)
class Trace:
    """All spans of one trace id, parents before children, siblings by start time."""

    trace_id: str
    nodes: tuple[Node, ...]

    @property
    def root(self) -> Node:
        """The first span: the one without a parent, or the earliest orphan when that one is not here."""
        return self.nodes[0]

    @property
    def complete(self) -> bool:
        """True when the span without a parent is here."""
        return not self.root.orphan

    @cached_property
    def start_ns(self) -> int:
        return min(node.span.start_ns for node in self.nodes)

    @cached_property
    def end_ns(self) -> int:
        return max(max(node.span.end_ns, node.span.start_ns) for node in self.nodes)

    @property
    def duration(self) -> float:
        """Seconds the request took: the first span's when it is here, else from the first start to the last end."""
        return self.root.span.duration if self.complete else (self.end_ns - self.start_ns) / 1e9

    @property
    def spans(self) -> tuple[Span, ...]:
        return tuple(node.span for node in self.nodes)


def build(spans: Iterable[Span]) -> Trace:
    """The tree of one trace.

    Raises ValueError for no spans at all, or for spans of more than one trace (`build_all` takes those).
    """
    heap = list(spans)
    traces = {span.trace_id for span in heap}
    if len(traces) != 1:
        raise ValueError(f"a tree needs the spans of exactly one trace, not of {len(traces)}")
    by_id = _once_each(heap)

    parents = {span.span_id: span.parent_id if span.parent_id in by_id else "" for span in by_id.values()}
    for span_id in _entries_of_cycles(parents, by_id):
        parents[span_id] = ""

    children: dict[str, list[Span]] = {}
    for span in by_id.values():
        children.setdefault(parents[span.span_id], []).append(span)
    for siblings in children.values():
        siblings.sort(key=_place)
    # The span without a parent leads even when a skewed clock makes an orphan look earlier.
    tops = sorted(children[""], key=lambda span: (bool(span.parent_id), _place(span)))
    return Trace(traces.pop(), _in_order(tops, children))


def build_all(spans: Iterable[Span]) -> list[Trace]:
    """One tree per trace id, earliest first."""
    heaps: dict[str, list[Span]] = {}
    for span in spans:
        heaps.setdefault(span.trace_id, []).append(span)
    return sorted((build(heap) for heap in heaps.values()), key=lambda trace: (trace.start_ns, trace.trace_id))


def _place(span: Span) -> tuple[int, int, str]:
    return span.start_ns, -span.end_ns, span.span_id


def _once_each(spans: Iterable[Span]) -> dict[str, Span]:
    """Exporters send a batch again when the answer got lost; of two versions the fuller one stays."""
    by_id: dict[str, Span] = {}
    for span in spans:
        held = by_id.get(span.span_id)
        if held is None or _fullness(span) > _fullness(held):
            by_id[span.span_id] = span
    return by_id


def _fullness(span: Span) -> tuple[int, int, int, str]:
    return span.end_ns, len(span.attributes), len(span.events), repr(span)


def _entries_of_cycles(parents: dict[str, str], by_id: dict[str, Span]) -> list[str]:
    """The earliest span of each ring of parents: cutting there turns the ring into a chain."""
    entries = []
    settled: set[str] = {""}
    for start in parents:
        path: list[str] = []
        on_path: set[str] = set()
        at = start
        while at not in settled and at not in on_path:
            path.append(at)
            on_path.add(at)
            at = parents[at]
        if at in on_path:
            ring = path[path.index(at) :]
            entries.append(min(ring, key=lambda span_id: _place(by_id[span_id])))
        settled |= on_path
    return entries


def _in_order(tops: list[Span], children: dict[str, list[Span]]) -> tuple[Node, ...]:
    """Parents before children, without recursion: a chain of thousands of spans is a legal trace."""
    order: list[Span] = []
    depths: list[int] = []
    parents: list[int] = []
    stack = [(span, 0, -1) for span in reversed(tops)]
    while stack:
        span, depth, parent = stack.pop()
        position = len(order)
        order.append(span)
        depths.append(depth)
        parents.append(parent)
        stack += [(child, depth + 1, position) for child in reversed(children.get(span.span_id, ()))]

    below: list[list[int]] = [[] for _ in order]
    ends = [position + 1 for position in range(len(order))]
    for position in range(len(order) - 1, -1, -1):
        parent = parents[position]
        if parent >= 0:
            below[parent].append(position)
            ends[parent] = max(ends[parent], ends[position])
    return tuple(
        Node(
            span=span,
            depth=depths[position],
            parent=parents[position],
            children=tuple(reversed(below[position])),
            orphan=parents[position] < 0 and bool(span.parent_id),
            end=ends[position],
        )
        for position, span in enumerate(order)
    )
