"""When a trace is shown, told with a clock in the hand: no test here waits."""

from __future__ import annotations

from dify_otel.tail.arrivals import NO_ROOT_SECONDS, REMOTE_PARENT_SECONDS, Arrivals, Shown
from dify_otel.tail.span import Span

from .sample import span

IDLE = 2.0


def names(shown: list[Shown]) -> list[list[str]]:
    return [[node.span.name for node in one.trace.nodes] for one in shown]


def other(number: int, parent: int, name: str, trace: int) -> Span:
    return span(number, parent, name, 0, 1, trace_id=f"{trace:032x}")


def test_shown_once_after_the_root_and_quiet() -> None:
    arrivals = Arrivals(IDLE)
    arrivals.add([span(2, 1, "child", 1, 2)], now=0)
    assert arrivals.due(now=3) == []
    arrivals.add([span(1, 0, "root", 0, 3)], now=4)
    assert arrivals.due(now=5.9) == []
    assert names(arrivals.due(now=6)) == [["root", "child"]]
    assert arrivals.due(now=100) == []


def test_late_spans_bring_it_again_whole() -> None:
    arrivals = Arrivals(IDLE)
    arrivals.add([span(1, 0, "root", 0, 3)], now=0)
    (first,) = arrivals.due(now=2)
    arrivals.add([span(2, 1, "late", 1, 2)], now=5)
    assert arrivals.due(now=6) == []
    (second,) = arrivals.due(now=7)
    assert (first.again, second.again) == (False, True)
    assert names([second]) == [["root", "late"]]


def test_a_batch_sent_twice_is_no_news() -> None:
    arrivals = Arrivals(IDLE)
    arrivals.add([span(1, 0, "root", 0, 3)], now=0)
    assert len(arrivals.due(now=2)) == 1
    arrivals.add([span(1, 0, "root", 0, 3)], now=3)
    assert arrivals.due(now=100) == []


def test_a_parent_outside_is_given_time_but_not_forever() -> None:
    arrivals = Arrivals(IDLE)
    arrivals.add([span(2, 1, "api", 0, 3, kind="SERVER")], now=0)
    assert arrivals.due(now=IDLE + 1) == []
    assert names(arrivals.due(now=IDLE + REMOTE_PARENT_SECONDS)) == [["api"]]


def test_without_any_first_span_it_comes_late() -> None:
    arrivals = Arrivals(IDLE)
    arrivals.add([span(3, 2, "node", 0, 3)], now=0)
    assert arrivals.due(now=NO_ROOT_SECONDS - 0.1) == []
    assert names(arrivals.due(now=NO_ROOT_SECONDS)) == [["node"]]


def test_traces_do_not_wait_for_each_other() -> None:
    arrivals = Arrivals(IDLE)
    arrivals.add([other(1, 0, "a", 1), other(1, 0, "b", 2)], now=0)
    arrivals.add([other(2, 1, "b2", 2)], now=1)
    assert names(arrivals.due(now=2)) == [["a"]]
    assert names(arrivals.due(now=3)) == [["b", "b2"]]


def test_the_rest_is_what_was_not_shown() -> None:
    arrivals = Arrivals(IDLE)
    arrivals.add([other(1, 0, "a", 1)], now=0)
    arrivals.due(now=2)
    arrivals.add([other(1, 9, "b", 2)], now=2)
    assert names(arrivals.rest()) == [["b"]]
    assert arrivals.rest() == []


def test_a_flood_of_traces_is_bounded_and_still_seen() -> None:
    arrivals = Arrivals(IDLE, max_traces=10)
    arrivals.add([other(1, 0, f"t{trace}", trace) for trace in range(1, 26)], now=0)
    shown = names(arrivals.due(now=0))
    assert shown == [[f"t{trace}"] for trace in range(1, 16)]
    assert len(arrivals.due(now=2)) == 10


def test_a_trace_without_end_is_bounded() -> None:
    arrivals = Arrivals(IDLE, max_spans_per_trace=10)
    arrivals.add([span(number, number - 1, f"s{number}", 0, 1) for number in range(1, 31)], now=0)
    (one,) = arrivals.due(now=2)
    assert (len(one.trace.nodes), one.left_out) == (10, 20)


def test_all_spans_together_are_bounded() -> None:
    arrivals = Arrivals(IDLE, max_spans=100)
    for trace in range(1, 21):
        arrivals.add([other(number, number - 1, "s", trace) for number in range(1, 11)], now=0)
    crowded_out = arrivals.due(now=0)
    assert len(crowded_out) == 10
    assert len(arrivals.rest()) == 10
