"""Calls the stand-in's applications as clients do, streamed and blocking, and says what came back.

`CASES` names every call with what must come of it, so that a test can compare an instrumented run with a bare one.
Standard library only. By hand: `python drive.py --base http://127.0.0.1:5001 --seed seed.json [CASE…]`.
"""

import argparse
import json
import secrets
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

QUERY = "Tell me about Berlin and Germany"
FILES = (
    {
        "type": "image",
        "transfer_method": "local_file",
        "upload_file_id": "6a1f2b3c-0000-4000-8000-000000000001",
        "mime_type": "image/png",
        "size": 68,
    },
    {
        "type": "document",
        "transfer_method": "remote_url",
        "url": "https://files.example.com/report.pdf?sign=canary-sign-55d1&timestamp=1",
        "mime_type": "application/pdf",
        "size": 1024,
    },
)
"""What a person attaches."""
_PATHS = {"workflow": "/v1/workflows/run", "completion": "/v1/completion-messages"}


@dataclass(frozen=True)
class Case:
    """One call: the application, streamed or blocking, and the result it must have.

    `status` is a workflow run's final status, or `ok` / `error` for applications with messages.
    """

    app: str
    how: str
    status: str
    query: str = QUERY

    @property
    def name(self) -> str:
        return f"{self.app}:{self.how}"


@dataclass
class Outcome:
    """What a client saw. Times in seconds from the start of the call; `first` is the first event with data."""

    case: str
    http: int = 0
    status: str = ""
    error: str | None = None
    answer: str = ""
    outputs: Any = None
    events: Counter[str] = field(default_factory=Counter)
    ids: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    trace_id: str = ""
    first: float = 0.0
    seconds: float = 0.0


_WORKFLOWS = {
    "wf-main": "succeeded",
    "travel-guide": "succeeded",
    "wf-iter": "succeeded",
    "wf-iter-par": "succeeded",
    "wf-loop": "succeeded",
    "wf-parallel": "succeeded",
    "wf-fail": "failed",
    "wf-fail-mid": "failed",
    "wf-branch-fail": "partial-succeeded",
    "wf-retry": "failed",
    "wf-tool-fail": "failed",
    "wf-http": "succeeded",
    "wf-classifier": "succeeded",
    "wf-nested": "succeeded",
    "wf-picture": "succeeded",
}
_MESSAGES = {
    "chatflow": "ok",
    "chatflow-fail": "error",
    "chatflow-agent": "ok",
    "chat": "ok",
    "chat-dataset": "ok",
    "chat-datasets": "ok",
    "chat-single": "ok",
    "chat-fail": "error",
    "chat-fail-mid": "error",
    "agent-chat": "ok",
    "agent-chat-fail": "ok",
    "agent-chat-cot": "ok",
    "agent-picture": "ok",
    "agent-app": "ok",
    "completion": "ok",
}
_OTHERWISE = {
    # The relayed stream of a chatflow ends with the run's last event: its error event is never read.
    "chatflow-fail:stream": "failed",
    # Dify answers an agent application in streaming mode only.
    "agent-chat:block": "error",
    "agent-chat-fail:block": "error",
    "agent-chat-cot:block": "error",
    "agent-picture:block": "error",
    "agent-app:block": "error",
}
CASES: dict[str, Case] = {
    f"{app}:{how}": Case(app, how, _OTHERWISE.get(f"{app}:{how}", status))
    for app, status in {**_WORKFLOWS, **_MESSAGES}.items()
    for how in ("stream", "block")
}


def traceparent() -> tuple[str, str]:
    """A fresh sampled W3C `traceparent`, and its trace id."""
    trace_id = secrets.token_hex(16)
    return f"00-{trace_id}-{secrets.token_hex(8)}-01", trace_id


def call(
    base: str,
    apps: Mapping[str, Mapping[str, str]],
    case: Case,
    *,
    user: str = "standin-user",
    conversation_id: str | None = None,
    parent: str | None = None,
    headers: Mapping[str, str] | None = None,
    abort_after: int | None = None,
    files: Sequence[Mapping[str, Any]] = (),
    console: bool = False,
    timeout: float = 60.0,
) -> Outcome:
    """Makes one call. `parent` is sent as `traceparent`; `abort_after` closes a stream after so many events.

    `console`: as the person who edits the application does, without a key.
    """
    app = apps[case.app]
    body: dict[str, Any] = {
        "inputs": {"query": case.query} if app["mode"] in _PATHS else {},
        "user": user,
        "response_mode": "streaming" if case.how == "stream" else "blocking",
    }
    if app["mode"] != "workflow":
        body["query"] = case.query
    if files:
        body["files"] = list(files)
    if conversation_id:
        body["conversation_id"] = conversation_id
    sent = {"Authorization": f"Bearer {app['key']}", "Content-Type": "application/json", **(headers or {})}
    outcome = Outcome(case=case.name)
    if parent:
        sent["traceparent"] = parent
        outcome.trace_id = parent.split("-")[1]
    path = _PATHS.get(app["mode"], "/v1/chat-messages")
    if console:
        del sent["Authorization"]
        path = f"/console/api/apps/{app['id']}/"
        path += "workflows/draft/run" if app["mode"] == "workflow" else "chat-messages"
    request = urllib.request.Request(base + path, json.dumps(body).encode(), sent)
    started = time.perf_counter()
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            outcome.http = response.status
            outcome.headers = {name.lower(): value for name, value in response.headers.items()}
            if case.how == "stream":
                _drain(response, outcome, started, abort_after)
            else:
                _blocking(json.loads(response.read()), outcome)
    except urllib.error.HTTPError as error:
        outcome.http = error.code
        outcome.status = "error"
        outcome.error = error.read().decode(errors="replace")[:500]
    outcome.seconds = time.perf_counter() - started
    return outcome


def _note(outcome: Outcome, payload: Mapping[str, Any]) -> None:
    for name in ("workflow_run_id", "task_id", "conversation_id", "message_id"):
        if payload.get(name):
            outcome.ids[name] = payload[name]


def _drain(response: Any, outcome: Outcome, started: float, abort_after: int | None) -> None:
    count = 0
    for line in response:
        if not line.startswith(b"data:"):
            continue
        payload = json.loads(line[5:])
        event = payload.get("event")
        outcome.first = outcome.first or time.perf_counter() - started
        outcome.events[event] += 1
        _note(outcome, payload)
        outcome.answer += payload.get("answer") or ""
        if event in ("workflow_finished", "workflow_paused"):
            data = payload["data"]
            outcome.status = outcome.status or data["status"]
            outcome.error = outcome.error or data.get("error")
            outcome.outputs = data.get("outputs")
        elif event == "message_end":
            outcome.status = "ok"
        elif event == "error":
            outcome.status, outcome.error = "error", payload.get("message")
        count += 1
        if abort_after is not None and count >= abort_after:
            outcome.status = "aborted"
            return


def _blocking(payload: Mapping[str, Any], outcome: Outcome) -> None:
    _note(outcome, payload)
    data = payload.get("data")
    if data is None:
        outcome.status, outcome.answer = "ok", payload.get("answer") or ""
    else:
        outcome.status, outcome.error, outcome.outputs = data["status"], data.get("error"), data.get("outputs")


def wanted(case: Case, outcome: Outcome) -> bool:
    """Whether the outcome is the one this case must have."""
    return outcome.status == case.status


def request(
    method: str,
    url: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 30.0,
) -> tuple[int, bytes]:
    """Any other request: status and body. Errors of HTTP are statuses, not exceptions."""
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    sent = {"Content-Type": "application/json", **(headers or {})}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, data, sent, method=method), timeout=timeout
        ) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def main() -> int:
    parser = argparse.ArgumentParser(description="Calls the applications of a running stand-in.")
    parser.add_argument("--base", required=True)
    parser.add_argument("--seed", type=Path, required=True, help="what seed.py printed")
    parser.add_argument("--n", type=int, default=1)
    parser.add_argument("--parent", action="store_true", help="send a traceparent with every call")
    parser.add_argument("cases", nargs="*", help="all, if none is named")
    options = parser.parse_args()
    apps = json.loads(options.seed.read_text())["apps"]
    failures = 0
    for _ in range(options.n):
        for name in options.cases or CASES:
            case = CASES[name]
            outcome = call(options.base, apps, case, parent=traceparent()[0] if options.parent else None)
            right = wanted(case, outcome)
            failures += not right
            print(
                f"{'ok ' if right else 'BAD'} {name:24} http={outcome.http} status={outcome.status:18}"
                f" first={outcome.first:.3f} secs={outcome.seconds:.3f} {outcome.error or ''}"[:220],
                flush=True,
            )
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
