"""The calls that are made to a real Dify, and what each must come to.

A case names the application, streamed or blocking, the status a caller must see, which kinds of spans there must be and
which of them must be ERROR. Span kinds are beginnings of names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from dify_otel.releases import claims
from dify_otel_instrumentors.seams import SEAMS

from tests.dify.console import Application
from tests.standin import drive
from tests.standin.drive import Outcome

SERVER = "POST /v1/"
SPANS_OF_SEAMS = {"iteration item": ("node.children", "node.frame")}
"""Spans that exist only in releases which have one of these seams; older engines run all items in one place."""
RUN = ("dify.app", "invoke_workflow")


@dataclass(frozen=True)
class Case:
    """One call. `status` is a run's final status, or `ok` / `error` of a message."""

    app: str
    how: str
    status: str
    spans: tuple[str, ...] = ("dify.app",)
    errors: tuple[str, ...] = ()
    vectors: bool = False
    uncounted: frozenset[str] = frozenset()
    """Events whose number depends on who is faster, in Dify itself."""
    top: str = SERVER
    """The beginning of the name of the request's span."""

    @property
    def name(self) -> str:
        return f"{self.app}:{self.how}"


def _both(app: str, status: str, *spans: str, errors: tuple[str, ...] = (), vectors: bool = False) -> list[Case]:
    return [Case(app, how, status, spans, errors, vectors) for how in ("stream", "block")]


_MODEL = ("chat stub-chat",)
_REFUSED = ("dify.app", "invoke_workflow", "llm ", "chat ")
_ALL = [
    *_both("wf-main", "succeeded", *RUN, "llm LLM", *_MODEL, "tool Weather", "execute_tool weather"),
    *_both("wf-iter", "succeeded", *RUN, "iteration Iteration", "iteration item", "llm Inner LLM", *_MODEL),
    Case("wf-iter-par", "stream", "succeeded", (*RUN, "iteration item", "llm Inner LLM", *_MODEL)),
    # Older engines stream a branch's chunks only if the branches before it have ended by then.
    Case(
        "wf-parallel",
        "stream",
        "succeeded",
        (*RUN, "llm LLM a", "llm LLM b", "tool Weather", *_MODEL),
        uncounted=frozenset({"text_chunk"}),
    ),
    Case("wf-http", "stream", "succeeded", (*RUN, "http-request HTTP", "GET")),
    *_both("wf-fail", "failed", *_REFUSED, errors=_REFUSED),
    Case("wf-fail-mid", "stream", "failed", _REFUSED, _REFUSED),
    Case("wf-tool-fail", "stream", "failed", (*RUN, "execute_tool"), (*RUN, "tool ", "execute_tool")),
    Case("chatflow", "stream", "ok", (*RUN, "llm LLM", *_MODEL)),
    Case("chatflow", "block", "ok", (*RUN, "llm LLM", *_MODEL)),
    Case("chatflow-agent", "stream", "ok", (*RUN, "agent Agent", *_MODEL, "execute_tool weather")),
    *_both("chat", "ok", "dify.app", *_MODEL),
    *_both("chat-dataset", "ok", "dify.app", "retrieval", "embeddings", "rerank", *_MODEL, vectors=True),
    *_both("chat-fail", "error", "dify.app", "chat fail-model", errors=("dify.app", "chat fail-model")),
    Case("agent-chat", "stream", "ok", ("dify.app", "invoke_agent", *_MODEL, "execute_tool weather")),
    Case("agent-chat-fail", "stream", "ok", ("dify.app", "invoke_agent", "execute_tool"), ("execute_tool",)),
    *_both("completion", "ok", "dify.app", *_MODEL),
]
CASES: dict[str, Case] = {case.name: case for case in _ALL}
SOME = ("wf-main:stream", "wf-main:block", "wf-fail:stream", "chatflow:stream", "agent-chat:stream", "completion:block")
"""For set-ups that differ in how processes run, not in what they do."""


def absent(release: str) -> frozenset[str]:
    """Kinds of spans that the seam table does not promise for that release."""
    promised = {seam.name for seam in SEAMS if claims(seam, release)}
    return frozenset(kind for kind, seams in SPANS_OF_SEAMS.items() if not promised & set(seams))


def call(base: str, applications: Mapping[str, Application], case: Case, timeout: float = 90.0) -> Outcome:
    """Makes the call with a caller's own trace context."""
    parent, _ = drive.traceparent()
    apps = {name: asdict(app) for name, app in applications.items()}
    return drive.call(base, apps, drive.Case(case.app, case.how, case.status), parent=parent, timeout=timeout)
