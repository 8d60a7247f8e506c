"""Real servers, shared by the suite, an OTLP receiver, and the agent as it is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dify_otel.tail.receiver import Receiver
from dify_otel.tail.span import Span
from dify_otel.tail.tree import Trace, build

from tests.standin import drive, processes

ROOT = Path(__file__).resolve().parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/process" in str(item.path):
            item.add_marker(pytest.mark.process)


@pytest.fixture(scope="session")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, installed into a folder of its own that nobody may write to."""
    folder = tmp_path_factory.mktemp("agent") / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", folder, ROOT],
        check=True,
        capture_output=True,
    )
    subprocess.run(["chmod", "-R", "a-w", str(folder)], check=True)
    return folder


@pytest.fixture(scope="session")
def receiver() -> Iterator[Receiver]:
    with Receiver(keep=200_000) as listening:
        yield listening


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[processes.Backing]:
    why = processes.missing()
    if why:
        pytest.skip(why)
    with processes.backing(tmp_path_factory.mktemp("servers"), sys.executable) as backing:
        yield backing


@dataclass(frozen=True)
class Door:
    """One way in: variables for the processes and a command before theirs."""

    name: str
    environment: Mapping[str, str]
    wrap: tuple[str, ...] = ()


@pytest.fixture(scope="session")
def doors(agent: Path, receiver: Receiver) -> Mapping[str, Door]:
    common = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.grpc_endpoint, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    instrument = str(Path(sys.executable).parent / "opentelemetry-instrument")
    select = {"OTEL_PYTHON_DISTRO": "dify", "OTEL_PYTHON_CONFIGURATOR": "dify"}
    return {
        "inject": Door("inject", {**common, "PYTHONPATH": str(agent / "dify_otel" / "inject")}),
        "checkout": Door("checkout", {**common, "PYTHONPATH": str(ROOT / "bootstrap" / "dify_otel" / "inject")}),
        "distro": Door("distro", {**common, "PYTHONPATH": str(agent), **select}, (instrument,)),
    }


@dataclass(frozen=True)
class Running:
    """API and worker under one door, and what to do with them."""

    servers: processes.Backing
    receiver: Receiver
    api: processes.Process
    worker: processes.Process

    def call(self, case: str, **kwargs: Any) -> drive.Outcome:
        """One call with a caller's trace context."""
        parent, _ = drive.traceparent()
        return drive.call(self.servers.base, self.servers.apps, drive.CASES[case], parent=parent, **kwargs)

    def trace(self, outcome: drive.Outcome, *names: str, seconds: float = 20.0) -> Trace:
        """The spans of that call, once the request's server span and all `names` have arrived."""

        def arrived(spans: list[Span]) -> list[Span]:
            mine = [s for s in spans if s.trace_id == outcome.trace_id]
            have = [s.name for s in mine]
            wanted = ("POST /v1/", *names)
            return mine if all(any(n.startswith(w) for n in have) for w in wanted) else []

        self.receiver.wait_for(arrived, seconds)
        settle(self.receiver)
        return build([s for s in self.receiver.spans if s.trace_id == outcome.trace_id])


def settle(receiver: Receiver, seconds: float = 1.2) -> None:
    """Wait until nothing has arrived for a while (a batch leaves every 200 ms)."""
    import time

    last, since = receiver.received, time.monotonic()
    while time.monotonic() - since < seconds:
        time.sleep(0.1)
        if receiver.received != last:
            last, since = receiver.received, time.monotonic()


Start = Callable[..., Any]


@pytest.fixture(scope="session")
def start(servers: processes.Backing, receiver: Receiver) -> Start:
    """`with start(door, environment={…}, api={…}, worker={…}) as running:`"""

    @contextmanager
    def starting(
        door: Door,
        *,
        environment: Mapping[str, str] | None = None,
        api: Mapping[str, Any] | None = None,
        worker: Mapping[str, Any] | None = None,
    ) -> Iterator[Running]:
        variables = {**door.environment, **(environment or {})}
        with ExitStack() as stack:
            web = stack.enter_context(
                processes.api(
                    servers, environment=variables, wrap=door.wrap, **{"name": f"api-{door.name}", **(api or {})}
                )
            )
            tasks = stack.enter_context(
                processes.worker(
                    servers, environment=variables, wrap=door.wrap, **{"name": f"worker-{door.name}", **(worker or {})}
                )
            )
            yield Running(servers, receiver, web, tasks)

    return starting


@pytest.fixture(scope="session")
def bare(servers: processes.Backing) -> Mapping[str, drive.Outcome]:
    """What every case answers without us."""
    with processes.api(servers, name="api-bare"), processes.worker(servers, name="worker-bare"):
        return {name: drive.call(servers.base, servers.apps, case) for name, case in drive.CASES.items()}


def clean(process: processes.Process) -> list[str]:
    """Lines of a log that must not be there."""
    bad = ("Failed to detach", "MonkeyPatchWarning", "AssertionError", "telemetry failed", "RecursionError")
    return [line for line in process.text().splitlines() if any(b in line for b in bad)]


os.environ.setdefault("OTEL_METRIC_EXPORT_INTERVAL", "60000")
