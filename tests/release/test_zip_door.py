"""The zip alone on PYTHONPATH, as from a ConfigMap: a streamed workflow through gunicorn and Celery is one trace."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from dify_otel.tail.receiver import Receiver
from dify_otel.tail.span import Span
from dify_otel.tail.tree import build_all

from tests.release import build
from tests.standin import drive, processes

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(processes.missing("sqlite") is not None, reason=str(processes.missing("sqlite"))),
]


def _both_halves(spans: list[Span]) -> bool:
    names = [span.name for span in spans]
    return any(name.startswith("POST /v1/") for name in names) and any(name.startswith("run/") for name in names)


def test_one_request_is_one_trace(tmp_path: Path) -> None:
    archive = build.injection_zip(tmp_path)
    with Receiver() as receiver, processes.backing(tmp_path / "servers", sys.executable, database="sqlite") as servers:
        environment = {
            "PYTHONPATH": str(archive),
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.grpc_endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "300",
            "OTEL_METRICS_EXPORTER": "none",
        }
        with processes.api(servers, environment=environment), processes.worker(servers, environment=environment):
            outcome = drive.call(servers.base, servers.apps, drive.CASES["travel-guide:stream"])
            receiver.wait_for(_both_halves, 30)
        # Both processes have ended, and with them the last export.
        (trace,) = build_all(receiver.spans)
    assert outcome.status == "succeeded"
    assert trace.complete
    assert [node.span.name for node in trace.nodes if node.orphan] == []
    names = {node.span.name for node in trace.nodes}
    assert "chat stub-chat" in names
    assert {node.span.service for node in trace.nodes} == {"dify-api", "dify-worker"}
