"""Canary strings: content leaves only when asked for, secrets never, looked for in every exported byte."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from dify_otel.tail.receiver import Receiver

from tests.standin import drive

QUERY = "canary-query-7f3a museums parks"
CONTENT = (
    "canary-query-7f3a",
    "You are a helpful assistant.",
    "sunny",
    "capital of Germany",
    "Berlin",
)
SECRETS = ("plugin-api-key", "inner-key", "dify-sandbox", "canary-token-91c2", "Bearer app-")
CASES = (
    "wf-main:stream",
    "wf-main:block",
    "chat-dataset:stream",
    "agent-chat:stream",
    "completion:block",
    "wf-fail:stream",
)


class _Bytes:
    def __init__(self) -> None:
        self.kept: list[bytes] = []

    def add(self, signal: str, body: bytes) -> None:
        self.kept.append(body)

    def found(self, canaries: tuple[str, ...]) -> list[str]:
        everything = b"\n".join(self.kept)
        return [c for c in canaries if c.encode() in everything]


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
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        "DIFY_OTEL_INFRA_SPANS": "all",
    }
    names = {"api": {"name": f"api-{mode}"}, "worker": {"name": f"worker-{mode}"}}
    with start(doors["inject"], environment=environment, **names) as running:
        base, apps = running.servers.base, running.servers.apps
        for name in CASES:
            case = drive.CASES[name]
            drive.call(base, apps, drive.Case(case.app, case.how, case.status, QUERY))
        drive.request("GET", f"{base}/v1/nothing?token=canary-token-91c2&sign=canary-token-91c2")
        secrets = [app["key"] for app in apps.values()]
        receiver.wait_for(lambda spans: [s for s in spans if s.name.startswith("run/")], 20)
    return seen, secrets


def test_nothing_of_what_was_said_leaves_by_default(exported: Any, doors: Any, start: Any) -> None:
    seen, secrets = _drive("NO_CONTENT", exported, doors, start)
    assert seen.kept
    assert seen.found(CONTENT) == []
    assert seen.found((*SECRETS, *secrets)) == []


def test_with_content_on_it_is_there_and_the_secrets_are_not(exported: Any, doors: Any, start: Any) -> None:
    seen, secrets = _drive("SPAN_ONLY", exported, doors, start)
    assert set(seen.found(CONTENT)) == set(CONTENT)
    assert seen.found((*SECRETS, *secrets)) == []
