"""Every request of every kind of app is one trace, through each door, with the same answers as without us."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from dify_otel.tail.span import Span
from dify_otel.tail.tree import Trace

from tests.process.conftest import Running, clean, settle
from tests.standin import drive

TOLERANCE = (0.05, 0.05)
"""A span may differ from what the client measured by this share or this many seconds, whichever is more."""


@pytest.fixture(scope="module", params=["inject", "distro"])
def running(request: pytest.FixtureRequest, doors: Mapping[str, Any], start: Any) -> Iterator[Running]:
    with start(doors[request.param]) as up:
        up.call("wf-main:stream")  # the first request of a process pays for its imports
        yield up
        for process in (up.api, up.worker):
            assert clean(process) == []
            assert process.text().count("dify-otel ") >= 1


def _spans(trace: Trace, prefix: str) -> list[Span]:
    return [s for s in trace.spans if s.name.startswith(prefix)]


def _one(trace: Trace, prefix: str) -> Span:
    found = _spans(trace, prefix)
    assert len(found) == 1, f"{prefix}: {[s.name for s in trace.spans]}"
    return found[0]


def _above(trace: Trace, span: Span) -> list[str]:
    by_id = {s.span_id: s for s in trace.spans}
    names = []
    current = by_id.get(span.parent_id)
    while current is not None:
        names.append(current.name)
        current = by_id.get(current.parent_id)
    return names


SECOND_DOOR = ("wf-main:stream", "wf-main:block", "wf-fail:stream", "chatflow:stream", "chat-dataset:stream")
"""The doors differ in how a process starts, not in what it does: every case through one, some through the other."""


@pytest.mark.parametrize(
    ("running", "case"),
    [*(("inject", case) for case in drive.CASES), *(("distro", case) for case in SECOND_DOOR)],
    indirect=["running"],
    scope="module",
)
def test_same_answers_and_one_trace(case: str, running: Running, bare: Mapping[str, drive.Outcome]) -> None:
    without = bare[case]
    outcome = running.call(case)
    assert (outcome.http, outcome.status, outcome.error, outcome.answer) == (
        without.http,
        without.status,
        without.error,
        without.answer,
    )
    assert Counter(outcome.events) - Counter(ping=99) == Counter(without.events) - Counter(ping=99)

    trace = running.trace(outcome)
    ids = {s.span_id for s in trace.spans}
    tops = [s.name for s in trace.spans if s.parent_id not in ids]
    assert len(tops) == 1, tops
    assert tops[0].startswith("POST /v1/")
    server = next(s for s in trace.spans if s.name == tops[0])
    allowed = max(TOLERANCE[0] * outcome.seconds, TOLERANCE[1])
    assert abs(server.duration - outcome.seconds) <= allowed, (server.duration, outcome.seconds)


def test_no_trace_is_nobodys(running: Running) -> None:
    settle(running.receiver)
    running.receiver.clear()
    outcome = running.call("wf-main:stream")
    running.trace(outcome, "run/")
    strangers = [s.name for s in running.receiver.spans if s.trace_id != outcome.trace_id]
    assert strangers == []


def test_workflow_tree(running: Running) -> None:
    trace = running.trace(running.call("wf-main:stream"), "end ")
    chat = _one(trace, "chat stub-chat")
    above = _above(trace, chat)
    assert above[0] == "llm LLM"
    assert above[1].startswith("invoke_workflow")
    assert above[2].startswith("dify.app")
    assert above[3].startswith("run/") and above[4].startswith("apply_async/")
    assert above[5].startswith("dify.app") and above[6].startswith("POST /v1/workflows/run")
    facts = chat.attributes
    assert facts["gen_ai.usage.input_tokens"] and facts["gen_ai.usage.output_tokens"]
    assert facts["gen_ai.provider.name"] == "stub" and facts["gen_ai.request.model"] == "stub-chat"
    assert facts["gen_ai.response.finish_reasons"] == ["stop"]
    assert 0 < float(str(facts["gen_ai.response.time_to_first_chunk"])) < chat.duration
    for below in ("embeddings", "vector_search", "rerank"):
        assert any(n.startswith("retrieval") for n in _above(trace, _spans(trace, below)[0])), below
    assert _above(trace, _one(trace, "execute_tool weather"))[0].startswith("tool ")


@pytest.mark.parametrize("case", ["wf-iter:stream", "wf-iter-par:stream", "wf-iter:block", "wf-iter-par:block"])
def test_iteration_children_are_below_their_item(case: str, running: Running) -> None:
    trace = running.trace(running.call(case), "end ")
    items = _spans(trace, "iteration item")
    assert sorted(int(str(s.attributes["dify.iteration.index"])) for s in items) == [0, 1, 2]
    inner = _spans(trace, "llm Inner LLM")
    assert len(inner) == 3
    assert {s.parent_id for s in inner} == {s.span_id for s in items}
    assert all(_above(trace, s)[0] == "iteration Iteration" for s in items)


def test_loop_rounds(running: Running) -> None:
    trace = running.trace(running.call("wf-loop:stream"), "end ")
    rounds = _spans(trace, "loop round")
    assert len(rounds) >= 2
    inner = [s for s in trace.spans if s.name.startswith("llm ") and s.parent_id in {r.span_id for r in rounds}]
    assert len(inner) == len(rounds)


def test_parallel_branches_are_siblings(running: Running) -> None:
    trace = running.trace(running.call("wf-parallel:stream"), "end ")
    workflow = _one(trace, "invoke_workflow")
    branches = [s for s in trace.spans if s.attributes.get("dify.node.id") in ("a", "b", "c")]
    assert len(branches) == 3
    assert {s.parent_id for s in branches} == {workflow.span_id}


@pytest.mark.parametrize(
    ("case", "failing"),
    [
        ("wf-fail:stream", ["dify.app", "invoke_workflow", "llm ", "chat "]),
        ("wf-fail:block", ["dify.app", "invoke_workflow", "llm ", "chat "]),
        ("wf-fail-mid:stream", ["dify.app", "invoke_workflow", "llm ", "chat "]),
        ("wf-tool-fail:stream", ["dify.app", "invoke_workflow", "tool ", "execute_tool "]),
        ("chat-fail:stream", ["dify.app", "chat "]),
        ("agent-chat-fail:stream", ["execute_tool "]),
    ],
)
def test_errors_are_where_they_belong(case: str, failing: list[str], running: Running) -> None:
    trace = running.trace(running.call(case))
    failed = [s for s in trace.spans if s.failed and s.kind != "SERVER"]
    for prefix in failing:
        assert any(s.name.startswith(prefix) for s in failed), (prefix, [s.name for s in failed])
    for s in failed:
        assert any(s.name.startswith(p) for p in failing), s.name
        assert s.attributes.get("error.type"), s.name


def test_a_failure_the_workflow_handles_is_marked_and_the_run_is_not_failed(running: Running) -> None:
    trace = running.trace(running.call("wf-branch-fail:stream"), "end ")
    handled = [s for s in trace.spans if s.attributes.get("dify.node.status") == "exception"]
    assert len(handled) == 1
    assert handled[0].failed and handled[0].attributes["dify.node.error_strategy"] == "fail-branch"
    workflow = _one(trace, "invoke_workflow")
    assert not workflow.failed
    assert workflow.attributes["dify.workflow.status"] == "partial-succeeded"


@pytest.mark.parametrize("case", ["chat-dataset:stream", "agent-chat:stream", "wf-main:stream"])
def test_a_client_that_leaves_is_cancelled_not_failed(case: str, running: Running) -> None:
    outcome = running.call(case, abort_after=3)
    trace = running.trace(outcome, "dify.app")
    app = sorted(_spans(trace, "dify.app"), key=lambda s: s.start_ns)[0]
    assert app.attributes.get("dify.stream.outcome") == "cancelled"
    assert app.status == "UNSET"


def test_agent_rounds_hold_their_calls(running: Running) -> None:
    trace = running.trace(running.call("agent-chat:stream"))
    agent = _one(trace, "invoke_agent")
    rounds = _spans(trace, "react step")
    assert len(rounds) == 2 and {s.parent_id for s in rounds} == {agent.span_id}
    tool = _one(trace, "execute_tool weather")
    first = min(rounds, key=lambda s: s.start_ns)
    assert tool.parent_id == first.span_id
    chats = [s for s in _spans(trace, "chat ") if s.parent_id in {r.span_id for r in rounds}]
    assert len(chats) == 2


def test_rounds_of_the_agent_backend_hold_their_tools(running: Running) -> None:
    trace = running.trace(running.call("agent-app:stream"))
    agent = _one(trace, "invoke_agent")
    rounds = sorted(_spans(trace, "react step"), key=lambda s: s.start_ns)
    assert len(rounds) == 2 and {s.parent_id for s in rounds} == {agent.span_id}
    assert _one(trace, "execute_tool weather").parent_id == rounds[0].span_id


def test_rounds_of_a_plugins_strategy_lie_below_its_agent(running: Running) -> None:
    trace = running.trace(running.call("chatflow-agent:stream"))
    agent = _one(trace, "invoke_agent")
    assert _one(trace, "react step").parent_id == agent.span_id
    assert agent.attributes["gen_ai.usage.input_tokens"] and agent.attributes["dify.agent.tool_calls"] == 1
    daemon = [s for s in _spans(trace, "POST /plugin/") if s.parent_id == agent.span_id]
    assert [s.attributes["url.template"] for s in daemon] == ["/plugin/{tenant_id}/dispatch/agent_strategy/invoke"]


def test_the_message_is_on_the_apps_span(running: Running) -> None:
    trace = running.trace(running.call("chat-dataset:stream"))
    facts = _one(trace, "dify.app").attributes
    for key in ("dify.message.id", "gen_ai.conversation.id", "dify.message.tokens", "dify.message.answer_tokens"):
        assert facts.get(key), key
    assert facts["dify.message.status"] == "normal"
    assert facts["user.id"] == facts["gen_ai.user.id"] == "standin-user"
    assert facts["gen_ai.session.id"] == facts["gen_ai.conversation.id"]


def test_idle_processes_make_no_spans(running: Running) -> None:
    import time

    settle(running.receiver)
    before = running.receiver.received
    time.sleep(8)
    assert running.receiver.received == before
