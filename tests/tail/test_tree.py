"""Laws of the tree: whatever spans come, in whatever order, nothing vanishes and the answer is one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dify_otel.tail.span import Span
from dify_otel.tail.tree import Trace, build, build_all
from hypothesis import given
from hypothesis import strategies as st

from .sample import request, span


@st.composite
def heaps(draw: st.DrawFn) -> list[Span]:
    """Spans whose parents may be missing, themselves, or in a ring; with equal times and copies."""
    numbers = draw(st.lists(st.integers(1, 30), min_size=1, max_size=25, unique=True))
    spans = []
    for number in numbers:
        parent = draw(st.integers(0, 35))
        start = draw(st.integers(0, 6))
        spans.append(span(number, parent, f"s{number}", start, start + draw(st.integers(-1, 5))))
    copies = draw(st.lists(st.sampled_from(spans), max_size=5))
    return spans + [replace(one, end_ns=one.end_ns + draw(st.integers(0, 1))) for one in copies]


def ids(trace: Trace) -> list[str]:
    return [node.span.span_id for node in trace.nodes]


@given(heaps(), st.randoms())
def test_order_of_arrival_does_not_matter(spans: list[Span], chance: object) -> None:
    shuffled = spans[:]
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert build(shuffled) == build(spans)


@given(heaps())
def test_every_span_appears_once(spans: list[Span]) -> None:
    assert sorted(ids(build(spans))) == sorted({one.span_id for one in spans})


@given(heaps())
def test_a_child_stands_below_the_parent_it_names(spans: list[Span]) -> None:
    trace = build(spans)
    for position, node in enumerate(trace.nodes):
        if node.parent >= 0:
            above = trace.nodes[node.parent]
            assert above.span.span_id == node.span.parent_id
            assert node.parent < position
            assert node.depth == above.depth + 1
            assert position in above.children
            assert not node.orphan
        else:
            assert node.depth == 0
            assert node.orphan == bool(node.span.parent_id)


@given(heaps())
def test_a_subtree_is_one_stretch(spans: list[Span]) -> None:
    nodes = build(spans).nodes
    for position, node in enumerate(nodes):
        below = [at for at in range(len(nodes)) if _descends(nodes, at, position)]
        assert below == list(range(position + 1, node.end))


def _descends(nodes: tuple, at: int, ancestor: int) -> bool:  # type: ignore[type-arg]
    while nodes[at].parent >= 0:
        at = nodes[at].parent
        if at == ancestor:
            return True
    return False


@given(heaps())
def test_siblings_stand_by_start(spans: list[Span]) -> None:
    trace = build(spans)
    for node in trace.nodes:
        starts = [trace.nodes[child].span.start_ns for child in node.children]
        assert starts == sorted(starts)


@given(heaps())
def test_only_a_missing_parent_or_a_ring_makes_an_orphan(spans: list[Span]) -> None:
    trace = build(spans)
    known = set(ids(trace))
    parents = {node.span.span_id: node.span.parent_id for node in trace.nodes}
    for node in trace.nodes:
        if node.orphan and node.span.parent_id in known:
            at, steps = node.span.parent_id, 0
            while at != node.span.span_id and steps <= len(parents):
                at, steps = parents.get(at, ""), steps + 1
            assert at == node.span.span_id, "cut although it is in no ring"


def test_a_late_parent_takes_its_orphans() -> None:
    child, parent = span(2, 1, "child", 1, 2), span(1, 0, "parent", 0, 3)
    before = build([child])
    assert not before.complete
    assert before.root.orphan
    after = build([child, parent])
    assert after.complete
    assert [(node.span.name, node.depth) for node in after.nodes] == [("parent", 0), ("child", 1)]


def test_the_true_root_leads_whatever_the_clocks_say() -> None:
    early_orphan = span(5, 9, "from another host", -500, 2)
    assert build([early_orphan, span(1, 0, "request", 0, 3)]).root.span.name == "request"


def test_of_two_versions_the_fuller_stays() -> None:
    short = span(1, 0, "s", 0, 3)
    assert build([replace(short, attributes={"a": 1}), short]).root.span.attributes == {"a": 1}


def test_a_long_chain_is_no_problem() -> None:
    chain = [span(number, number - 1, f"s{number}", number, 9_999) for number in range(1, 5_001)]
    trace = build(reversed(chain))
    assert trace.nodes[-1].depth == 4_999
    assert trace.nodes[0].end == 5_000


def test_a_ring_loses_nobody() -> None:
    trace = build([span(1, 3, "a", 5, 9), span(2, 1, "b", 2, 9), span(3, 2, "c", 4, 9)])
    assert [node.span.name for node in trace.nodes] == ["b", "c", "a"]
    assert trace.root.orphan


def test_needs_exactly_one_trace() -> None:
    with pytest.raises(ValueError, match="exactly one trace"):
        build([])
    two = [span(1, 0, "a", 0, 1), span(1, 0, "b", 0, 1, trace_id="f" * 32)]
    with pytest.raises(ValueError, match="exactly one trace"):
        build(two)
    assert [trace.root.span.name for trace in build_all(two)] == ["a", "b"]


def test_duration_is_the_requests_own() -> None:
    spans = [span(1, 0, "request", 0, 100), span(2, 1, "left running", 10, 700)]
    assert build(spans).duration == pytest.approx(0.1)
    assert build(spans[1:]).duration == pytest.approx(0.69)


def test_the_sample_is_one_connected_tree() -> None:
    trace = build(request())
    assert trace.complete
    assert not any(node.orphan for node in trace.nodes)
