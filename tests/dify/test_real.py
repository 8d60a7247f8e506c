"""A real Dify, release by release: the same answers with us as without us, and one right trace for every call.

Needs `DIFY_API_DIR` and `DIFY_PYTHON` (see README.md here). Everything is started, set up and driven once without us;
what a caller saw then is the yardstick. `DIFY_MODES=all` adds other kinds of processes and collectors that fail.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.dify import (
    agent_apps,
    agents,
    assistance,
    calls,
    console,
    further,
    judgement,
    mcp,
    pipelines,
    servers,
    triggered,
)
from tests.dify.calls import CASES, SOME, Case
from tests.dify.console import Application
from tests.dify.receiver import Receiver
from tests.dify.servers import Dify, Processes, Servers, Setup
from tests.faults.backend import nobody
from tests.standin.drive import Outcome
from tests.standin.processes import StartError

ROOT = Path(__file__).resolve().parents[2]
DOORS = ("inject", "distro")
PLAIN: dict[str, dict[str, str]] = {
    "preload": {"GUNICORN_CMD_ARGS": "--preload"},
    "gthread": {"SERVER_WORKER_CLASS": "gthread", "GUNICORN_CMD_ARGS": "--threads 16"},
    "prefork": {"CELERY_WORKER_CLASS": "prefork", "CELERY_WORKER_AMOUNT": "2"},
    "solo": {"CELERY_WORKER_CLASS": "solo"},
    "threads": {"CELERY_WORKER_CLASS": "threads"},
    "debug": {"DEBUG": "true", "FLASK_DEBUG": "true"},
}
"""Other ways to start the same release, in the entrypoint's own words."""
CALL_SECONDS = 45.0
BLOCKED_SECONDS = 3.0
"""`/health` may take so long on a loaded machine; an exporter that blocks gevent's loop takes ten."""


@pytest.fixture(scope="session")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Us, installed as a Dify container gets us."""
    folder = tmp_path_factory.mktemp("agent") / "site"
    options = ["-q", "--no-deps", "--no-build-isolation", "--target", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(ROOT)], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def receiver() -> Iterator[Receiver]:
    with Receiver("grpc") as listening:
        yield listening


@dataclass(frozen=True)
class Ready:
    """Servers with applications in them, and what callers saw without us."""

    servers: Servers
    applications: Mapping[str, Application]
    without: Mapping[str, Outcome]
    goes_on: Mapping[str, str]
    """How a run ends that waited for a person, by the application's mode."""


@pytest.fixture(scope="session")
def ready(api_dir: Path, dify_python: Path, receiver: Receiver) -> Iterator[Ready]:
    why = servers.missing()
    if why:
        pytest.skip(why)
    with servers.servers(Dify(api_dir, dify_python)) as running:
        print(f"\nDify {running.dify.release} in {running.directory}", file=sys.stderr)
        with servers.started(running, Setup("bare")) as processes:
            try:
                first = console.Console(running.base)
                first.log_in()
                first.set_models_up()
                dataset = first.dataset() if running.vectors else None
                applications = console.applications(first, f"{running.daemon}/health", dataset)
            except Exception as error:
                error.add_note(f"API:\n{processes.api.tail()}\nworker:\n{processes.worker.tail()}")
                raise
            cases = [case for case in CASES.values() if case.app in applications]
            without = {case.name: calls.call(running.base, applications, case) for case in cases}
            goes_on = further.alone(_stage(running, receiver, {}))
            print(f"without us runs that waited for a person end as {goes_on}", file=sys.stderr)
        yield Ready(running, applications, without, goes_on)


def _stage(running: Servers, receiver: Receiver, goes_on: Mapping[str, str]) -> further.Stage:
    return further.stage(running.base, receiver, running.vectors, running.dify.release, goes_on)


@dataclass(frozen=True)
class Running:
    """One set-up with us in it, and what came of every call."""

    processes: Processes
    outcomes: Mapping[str, Outcome]


def doors(agent: Path, endpoint: str) -> Mapping[str, Setup]:
    common = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "OTEL_METRIC_EXPORT_INTERVAL": "5000",
    }
    inject = {**common, "PYTHONPATH": str(agent / "dify_otel" / "inject")}
    distro = {
        **common,
        "PYTHONPATH": str(agent),
        "OTEL_PYTHON_DISTRO": "dify",
        "OTEL_PYTHON_CONFIGURATOR": "dify",
    }
    return {"inject": Setup("inject", inject), "distro": Setup("distro", distro, ("opentelemetry-instrument",))}


def drive(ready: Ready, receiver: Receiver, names: tuple[str, ...], *, spans: bool = True) -> dict[str, Outcome]:
    """Makes the calls one after the other and waits for their spans."""
    outcomes = {}
    for name in names:
        if name in ready.without:
            outcomes[name] = calls.call(ready.servers.base, ready.applications, CASES[name], CALL_SECONDS)
            if spans:
                receiver.await_server_span(outcomes[name].trace_id)
    if spans:
        receiver.settle()
    return outcomes


@pytest.fixture(scope="module", params=DOORS)
def running(request: pytest.FixtureRequest, ready: Ready, agent: Path, receiver: Receiver) -> Iterator[Running]:
    if request.param not in os.environ.get("DIFY_DOORS", ",".join(DOORS)).split(","):
        pytest.skip(f"DIFY_DOORS does not name {request.param}")
    setup = doors(agent, receiver.endpoint)[request.param]
    receiver.mode = "ok"
    receiver.clear()
    with servers.started(ready.servers, setup) as processes:
        yield Running(processes, drive(ready, receiver, tuple(CASES)))


def _case(ready: Ready, name: str) -> Case:
    if name not in ready.without:
        pytest.skip("no PostgreSQL with pgvector: install postgresql-<version>-pgvector or set DIFY_PGVECTOR_BIN")
    return CASES[name]


@pytest.mark.parametrize("name", CASES)
def test_same_answer(ready: Ready, running: Running, name: str) -> None:
    case = _case(ready, name)
    assert judgement.difference(case, ready.without[name], running.outcomes[name]) == []


@pytest.mark.parametrize("name", CASES)
def test_one_right_trace(ready: Ready, running: Running, receiver: Receiver, name: str) -> None:
    case = _case(ready, name)
    outcome = running.outcomes[name]
    absent = calls.absent(ready.servers.dify.release)
    assert judgement.trace(case, outcome, receiver.trace(outcome.trace_id), absent) == []


def test_no_other_trace(running: Running, receiver: Receiver) -> None:
    ours = [outcome.trace_id for outcome in running.outcomes.values()]
    assert judgement.strangers(receiver.by_trace(), ours) == []


def test_every_process_announces_itself_and_complains_of_nothing(running: Running) -> None:
    for process in (running.processes.api, running.processes.worker):
        assert "dify-otel " in process.text(), process.tail()
    assert running.processes.forbidden() == []


def test_the_grpc_exporter_never_stops_the_loop(ready: Ready, running: Running, receiver: Receiver) -> None:
    """With a collector that takes ten seconds to answer: gRPC waits in C, where gevent cannot see it."""
    slowest, stop = 0.0, threading.Event()

    def probe() -> None:
        nonlocal slowest
        while not stop.wait(0.1):
            began = time.monotonic()
            with urllib.request.urlopen(f"{ready.servers.base}/health", timeout=30) as response:
                response.read()
            slowest = max(slowest, time.monotonic() - began)

    receiver.mode = "slow"
    asked = receiver.asked["slow"]
    prober = threading.Thread(target=probe)
    prober.start()
    try:
        outcomes = drive(ready, receiver, SOME, spans=False)
        waited = time.monotonic() + 20
        while receiver.asked["slow"] == asked and time.monotonic() < waited:
            time.sleep(0.1)
    finally:
        stop.set()
        prober.join()
        receiver.mode = "ok"
    assert receiver.asked["slow"] > asked, "nothing was exported meanwhile"
    wrong = {n: judgement.difference(CASES[n], ready.without[n], outcome) for n, outcome in outcomes.items()}
    assert not any(wrong.values()), wrong
    assert slowest < BLOCKED_SECONDS


@dataclass(frozen=True)
class Further:
    """The set-up in which the kinds of runs are that no call makes."""

    processes: Processes
    stage: further.Stage


@pytest.fixture(scope="module")
def others(ready: Ready, agent: Path, receiver: Receiver) -> Iterator[Further]:
    if "inject" not in os.environ.get("DIFY_DOORS", "inject").split(","):
        pytest.skip("DIFY_DOORS does not name inject")
    receiver.mode = "ok"
    setup = replace(doors(agent, receiver.endpoint)["inject"], name="further")
    with servers.started(ready.servers, setup) as processes, servers.beating(ready.servers, setup):
        receiver.clear()  # what the set-up before still had to send has come by now
        yield Further(processes, _stage(ready.servers, receiver, ready.goes_on))


KINDS = {
    kind: judges
    for module in (further, assistance, agents, agent_apps, mcp, pipelines, triggered)
    for kind, judges in module.KINDS.items()
}


@pytest.mark.parametrize("kind", KINDS)
def test_further_kinds_of_runs(others: Further, kind: str) -> None:
    try:
        assert KINDS[kind](others.stage) == []
    except further.Lacking as lacking:
        pytest.skip(f"this release has no such runs: {lacking}")


def test_no_other_span_of_them_failed_and_nobody_complains(others: Further) -> None:
    spans = [s for s in others.stage.receiver.spans if s.trace_id not in others.stage.judged]
    assert [f"{s.name}: {s.status_message}" for s in spans if s.failed] == []
    assert others.processes.forbidden() == []


def _asked_for(mode: str) -> bool:
    asked = os.environ.get("DIFY_MODES", "")
    return asked == "all" or mode in asked.split(",")


@pytest.mark.parametrize("mode", PLAIN)
def test_other_processes(ready: Ready, agent: Path, receiver: Receiver, mode: str) -> None:
    """First without us: what that set-up itself cannot do is not ours to do."""
    if not _asked_for(mode):
        pytest.skip(f"DIFY_MODES names neither all nor {mode}")
    receiver.mode = "ok"
    with ExitStack() as stack:
        try:
            stack.enter_context(servers.started(ready.servers, Setup(f"bare-{mode}", PLAIN[mode])))
        except StartError as error:
            pytest.skip(f"this release does not start so: {str(error)[:500]}")
        try:
            without = drive(ready, receiver, SOME, spans=False)
        except OSError as error:
            pytest.skip(f"without us this release does not answer when started so: {error!r}")
    receiver.clear()
    door = doors(agent, receiver.endpoint)["inject"]
    setup = replace(door, name=mode, environment={**door.environment, **PLAIN[mode]})
    with servers.started(ready.servers, setup) as processes:
        outcomes = drive(ready, receiver, SOME)
        traces = receiver.by_trace()
    absent = calls.absent(ready.servers.dify.release)
    wrong = {
        name: judgement.difference(replace(CASES[name], status=without[name].status), without[name], outcome)
        + judgement.trace(CASES[name], outcome, traces.get(outcome.trace_id, []), absent)
        for name, outcome in outcomes.items()
    }
    assert not any(wrong.values()), wrong
    assert judgement.strangers(traces, [o.trace_id for o in outcomes.values()]) == []
    assert processes.forbidden() == []


@pytest.mark.parametrize("mode", ["absent", "401"])
def test_a_collector_that_fails(ready: Ready, agent: Path, receiver: Receiver, mode: str) -> None:
    if not _asked_for(mode):
        pytest.skip(f"DIFY_MODES names neither all nor {mode}")
    with ExitStack() as stack:
        endpoint = receiver.endpoint if mode == "401" else stack.enter_context(nobody())
        receiver.mode = "401" if mode == "401" else "ok"
        stack.callback(setattr, receiver, "mode", "ok")
        door = doors(agent, endpoint)["inject"]
        with servers.started(ready.servers, replace(door, name=mode)) as processes:
            outcomes = drive(ready, receiver, SOME, spans=False)
            time.sleep(3)  # a batch leaves every 200 ms: their refusals are in the log by now
        assert (receiver.asked["401"] > 0) == (mode == "401")
    wrong = {n: judgement.difference(CASES[n], ready.without[n], outcome) for n, outcome in outcomes.items()}
    assert not any(wrong.values()), wrong
    assert processes.forbidden() == []
    for process in (processes.api, processes.worker):
        lines = [
            line for line in process.text().splitlines() if "opentelemetry" in line.lower() or "otlp" in line.lower()
        ]
        assert len(lines) <= 20, lines[:30]
