"""Canary strings: content leaves only when asked for, secrets never, looked for in every exported byte."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from dify_otel.tail.receiver import Receiver

from tests.process.conftest import settle
from tests.standin import drive

QUERY = "canary-query-7f3a museums parks"
CONTENT = (
    "canary-query-7f3a",
    "You are a helpful assistant.",
    "sunny",
    "capital of Germany",
    "Berlin",
    "canary-hook-1c9e",
    "report.pdf",
    "/files/tools/",
)
SIGNS = ("canary-sign-55d1", "signed-url-canary")
"""What makes an address of a file work for whoever has it: a secret, although the address is content."""
SECRETS = (
    *("plugin-api-key", "inner-key", "dify-sandbox", "canary-token-91c2", "Bearer app-", "canary-cookie-aa01"),
    *("sk-standin-secret-of-the-provider", "a-secret-of-the-tool", "an-external-secret", "a-secret-in-the-query"),
    *SIGNS,
)
CASES = (
    "wf-main:stream",
    "wf-main:block",
    "chat-dataset:stream",
    "agent-chat:stream",
    "completion:block",
    "wf-fail:stream",
    "wf-http:stream",
    "chat-datasets:stream",
    "agent-app:stream",
)


class _Bytes:
    def __init__(self) -> None:
        self.kept: list[tuple[str, bytes]] = []

    def add(self, signal: str, body: bytes) -> None:
        self.kept.append((signal, body))

    def found(self, canaries: tuple[str, ...]) -> list[str]:
        return sorted({c for c, _, _ in self.places(canaries)}, key=canaries.index)

    def places(self, canaries: tuple[str, ...]) -> list[tuple[str, str, bytes]]:
        """Canary, signal and what stands before and behind it, where any was found."""
        return [
            (c, signal, body[max(0, at - 60) : at + 40])
            for signal, body in self.kept
            for c in canaries
            if (at := body.find(c.encode())) >= 0
        ]


@pytest.fixture
def exported() -> Iterator[tuple[Receiver, _Bytes]]:
    seen = _Bytes()
    with Receiver(on_request=seen.add) as receiver:
        yield receiver, seen


def _drive(
    mode: str, exported: tuple[Receiver, _Bytes], doors: Mapping[str, Any], start: Any
) -> tuple[_Bytes, list[str]]:
    receiver, seen = exported
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.grpc_endpoint,
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": mode,
        "OTEL_LOGS_EXPORTER": "otlp",
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        "OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT": "true",
        "DIFY_OTEL_INFRA_SPANS": "all",
        "DIFY_OTEL_DIALECTS": "otel,arms,openinference",
        "DIFY_OTEL_SEMCONV": "dup",
    }
    names = {"api": {"name": f"api-{mode}"}, "worker": {"name": f"worker-{mode}"}}
    with start(doors["inject"], environment=environment, **names) as running:
        base, apps = running.servers.base, running.servers.apps
        for name in CASES:
            case = drive.CASES[name]
            drive.call(base, apps, drive.Case(case.app, case.how, case.status, QUERY))
        for name in ("chat", "agent-picture", "wf-picture"):
            drive.call(base, apps, drive.Case(name, "stream", "", QUERY), files=drive.FILES)
        hook = f"{base}/triggers/webhook/{apps['wf-nested-inner']['id']}?sign=canary-token-91c2"
        sent = {"Cookie": "session=canary-cookie-aa01", "Authorization": "Bearer canary-token-91c2"}
        drive.request("POST", hook, {"query": "canary-hook-1c9e", "api_key": "canary-token-91c2"}, sent)
        drive.request("GET", f"{base}/v1/nothing?token=canary-token-91c2&sign=canary-token-91c2")
        secrets = [app["key"] for app in apps.values()]
        receiver.wait_for(lambda spans: [s for s in spans if s.attributes.get("dify.triggered_from") == "webhook"], 20)
        settle(receiver, 3.0)  # log records leave every second
    return seen, secrets


def test_nothing_of_what_was_said_leaves_by_default(exported: Any, doors: Any, start: Any) -> None:
    seen, secrets = _drive("NO_CONTENT", exported, doors, start)
    assert {signal for signal, _ in seen.kept} == {"traces", "metrics", "logs"}
    assert seen.places(CONTENT) == []
    assert seen.places((*SECRETS, *secrets)) == []


def test_content_for_events_is_on_no_span(exported: Any, doors: Any, start: Any) -> None:
    seen, secrets = _drive("EVENT_ONLY", exported, doors, start)
    assert [place for place in seen.places(CONTENT) if place[1] != "logs"] == []
    assert CONTENT[0] in {canary for canary, signal, _ in seen.places(CONTENT) if signal == "logs"}
    assert seen.places((*SECRETS, *secrets)) == []


def test_with_content_on_it_is_there_and_the_secrets_are_not(exported: Any, doors: Any, start: Any) -> None:
    seen, secrets = _drive("SPAN_AND_EVENT", exported, doors, start)
    assert set(seen.found(CONTENT)) == set(CONTENT)
    assert seen.places((*SECRETS, *secrets)) == []
