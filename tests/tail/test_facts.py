"""What is read from a request: sums without double counting, the right cause, no invented figures."""

from __future__ import annotations

from typing import Any

import pytest
from dify_otel.tail import facts, figures
from dify_otel.tail.facts import Tokens
from dify_otel.tail.span import Event
from dify_otel.tail.tree import build

from .sample import chat, node, request, span


def test_the_sample_in_one_glance() -> None:
    said = facts.summary(build(request()))
    assert (said.app, said.mode) == ("Support triage", "workflow")
    assert said.tokens == Tokens(input=12 + 512 + 758 + 641, output=38 + 61 + 103, total=1923 + 202)
    assert said.cost == {"USD": pytest.approx(0.00000024 + 0.00166 + 0.002505 + 0.0026325)}
    assert said.first_chunk == 1.93
    assert said.models == ("stub-chat",)
    assert said.services == ("dify-api", "dify-worker", "dify-plugin-daemon")
    assert [(one.name, one.type) for one in said.failures] == [("code Parse", "CodeExecutionError")]
    assert said.has_content
    assert not facts.summary(build(request(content=False))).has_content


def test_sums_repeated_above_are_not_added() -> None:
    spans = [
        span(1, 0, "invoke_workflow w", 0, 9, {"dify.workflow.total_tokens": 30, "dify.usage.cost.total": 3.0}),
        span(2, 1, "invoke_agent a", 0, 9, {"gen_ai.usage.input_tokens": 20, "gen_ai.usage.output_tokens": 10}),
        chat(3, 2, 0, 4, (5, 5)),
        chat(4, 2, 4, 9, (15, 5)),
    ]
    assert facts.summary(build(spans)).tokens == Tokens(20, 10, 30)


def test_a_total_alone_still_counts() -> None:
    spans = [span(1, 0, "w", 0, 9, {"dify.workflow.total_tokens": 30})]
    assert facts.summary(build(spans)).tokens == Tokens(0, 0, 30)


def test_currencies_stay_apart_and_no_price_is_not_free() -> None:
    spans = [
        span(1, 0, "w", 0, 9),
        chat(2, 1, 0, 1, (1, 1), **{"dify.usage.cost.total": 0.5}),
        chat(3, 1, 0, 1, (1, 1), **{"dify.usage.cost.total": 2, "dify.usage.cost.currency": "RMB"}),
    ]
    assert facts.summary(build(spans)).cost == {"USD": 0.5, "RMB": 2}
    unpriced = facts.summary(build(spans[:1]))
    assert unpriced.cost == {}
    assert unpriced.tokens is None


def test_figures_sent_as_strings_are_read_and_nonsense_is_not() -> None:
    assert facts.tokens(span(1, 0, "s", 0, 1, {"gen_ai.usage.input_tokens": "12"})) == Tokens(12, 0, 12)
    for nonsense in ("twelve", float("nan"), float("inf"), True, None, [1]):
        assert facts.tokens(span(1, 0, "s", 0, 1, {"gen_ai.usage.input_tokens": nonsense})) is None


def test_the_cause_comes_before_what_it_took_down() -> None:
    failed: Any = {"status": "ERROR"}
    spans = [
        span(1, 0, "request", 0, 9, **failed),
        span(2, 1, "workflow", 0, 9, **failed),
        span(3, 2, "chat", 0, 9, {"error.type": "InvokeRateLimitError"}, **failed),
    ]
    assert [one.name for one in facts.summary(build(spans)).failures] == ["chat", "workflow", "request"]


def test_an_exception_event_tells_the_error() -> None:
    event = Event("exception", 0, {"exception.type": "ValueError", "exception.message": "no"})
    failed = span(1, 0, "s", 0, 1, status="ERROR", events=(event,))
    assert (facts.error_type(failed), facts.error_message(failed)) == ("ValueError", "no")


def test_first_chunk_counts_from_the_request_when_only_a_model_tells() -> None:
    spans = [
        span(1, 0, "request", 0, 900),
        chat(2, 1, 500, 900, (1, 1), **{"gen_ai.response.time_to_first_chunk": 0.1}),
        chat(3, 1, 100, 900, (1, 1), **{"gen_ai.response.time_to_first_chunk": 0.25}),
    ]
    assert facts.summary(build(spans)).first_chunk == pytest.approx(0.35)


def test_own_time_leaves_out_children_once() -> None:
    trace = build([span(1, 0, "s", 0, 100), span(2, 1, "a", 10, 40), span(3, 1, "b", 30, 60), span(4, 1, "c", 90, 300)])
    assert facts.own_seconds(trace, 0) == pytest.approx(0.04)


@pytest.mark.parametrize(
    ("name", "category"),
    [
        ("POST /v1/workflows/run", "server"),
        ("dify.app Support triage", "app"),
        ("invoke_workflow Support triage", "workflow"),
        ("llm Answer", "node"),
        ("chat stub-chat", "model"),
        ("embeddings stub-embed", "embedding"),
        ("rerank stub-rerank", "rerank"),
        ("retrieval", "retrieval"),
        ("execute_tool parcel_status", "tool"),
        ("invoke_agent Find the parcel", "agent"),
        ("react step 1", "agent"),
        ("apply_async/workflow_run", "queue"),
        ("SELECT dify", "database"),
        ("POST", "client"),
    ],
)
def test_sorts_of_spans(name: str, category: str) -> None:
    assert {facts.category(one) for one in request() if one.name == name} == {category}


@pytest.mark.parametrize(
    ("attributes", "shown"),
    [
        ({"server.address": "sandbox"}, "POST sandbox"),
        ({"net.peer.name": "sandbox", "http.url": "http://other/"}, "POST sandbox"),
        ({"http.url": "http://plugin_daemon:5002/plugin/x?key=1"}, "POST plugin_daemon:5002"),
        ({"url.full": "https://user:secret@[::1]:8194/v1"}, "POST [::1]:8194"),
        ({"http.url": "nothing"}, "POST"),
        ({}, "POST"),
    ],
)
def test_a_bare_method_says_where_it_goes(attributes: dict[str, str], shown: str) -> None:
    given = {"http.request.method": "POST", **attributes}
    assert facts.label(span(1, 0, "POST", 0, 1, given, kind="CLIENT")) == shown


def test_a_node_stays_a_node_whatever_dialect_it_speaks() -> None:
    assert facts.category(node(1, 0, "llm", "L", 0, 1, **{"gen_ai.span.kind": "LLM"})) == "node"


@pytest.mark.parametrize(
    ("value", "written"),
    [(0, "0 ms"), (0.0004, "0.4 ms"), (0.412, "412 ms"), (0.9996, "1.00 s"), (3.42, "3.42 s"), (125.2, "2 m 05 s")],
)
def test_seconds(value: float, written: str) -> None:
    assert figures.seconds(value) == written


@pytest.mark.parametrize(
    ("amount", "written"),
    [
        (0, "0 USD"), (0.003124, "0.00312 USD"), (0.0025, "0.0025 USD"), (1234.5, "1,234.50 USD"),
        (0.1, "0.1 USD"), (0.00000024, "<0.000001 USD"),
    ],
)  # fmt: skip
def test_money(amount: float, written: str) -> None:
    assert figures.money(amount, "USD") == written
