"""Both doors under real servers: gunicorn with gevent, preloaded or not, and Celery; nothing early, nothing twice."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .conftest import environment, facts

pytestmark = pytest.mark.process
BIN = Path(sys.executable).parent
HARMFUL = ["threading", "ssl", "concurrent.futures", "socket", "queue", "logging", "opentelemetry.trace"]

GUNICORN_CONF = """
# Read by the arbiter and by every worker before gevent patches: what is loaded by then was loaded too early.
import json, os, sys
from gevent import events

def tell(event):
    if isinstance(event, events.GeventDidPatchBuiltinModulesEvent):
        print("FACTS " + json.dumps({"patched": os.getpid()}), flush=True)

def before(event):
    if isinstance(event, events.GeventWillPatchAllEvent):
        early = [m for m in %r if m in sys.modules]
        print("FACTS " + json.dumps({"early": early, "ours": sorted(m for m in sys.modules if "dify_otel" in m)}), flush=True)

events.subscribers.append(before)
events.subscribers.append(tell)
"""  # noqa: E501


@contextmanager
def server(command: list[str], folder: Path, env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    log = (folder / "log").open("w")
    process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT, text=True)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[str], folder: Path, seconds: float = 60) -> Any:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = condition()
        if found:
            return found
        assert process.poll() is None, (folder / "log").read_text()
        time.sleep(0.05)
    raise AssertionError((folder / "log").read_text())


def get(port: int) -> Any:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
            return json.load(answer)
    except (urllib.error.URLError, OSError):
        return None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def through(door: str, *command: str) -> tuple[list[str], dict[str, str]]:
    """The command and environment for one of the two doors."""
    if door == "sitecustomize":
        return list(command), environment()
    selectors = {"OTEL_PYTHON_DISTRO": "dify", "OTEL_PYTHON_CONFIGURATOR": "dify"}
    return [str(BIN / "opentelemetry-instrument"), *command], environment(PYTHONPATH=entry_points(), **selectors)


_folder: list[str] = []


def entry_points() -> str:
    """The two packages and their entry points as an installation puts them on the path."""
    import tempfile

    root = Path(__file__).resolve().parents[2]
    if not _folder:
        folder = Path(tempfile.mkdtemp(prefix="dify-otel-door-"))
        (folder / "dify_otel").symlink_to(root / "bootstrap" / "dify_otel")
        (folder / "dify_otel_instrumentors").symlink_to(root / "instrumentors" / "dify_otel_instrumentors")
        info = folder / "dify_otel-0.0.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dify-otel\nVersion: 0.0.0\n")
        (info / "entry_points.txt").write_text(
            "[opentelemetry_distro]\ndify = dify_otel.distro:DifyDistro\n"
            "[opentelemetry_configurator]\ndify = dify_otel.distro:DifyConfigurator\n"
        )
        _folder.append(str(folder))
    return _folder[0]


@pytest.mark.parametrize("preload", [False, True], ids=["plain", "preload"])
@pytest.mark.parametrize("door", ["sitecustomize", "opentelemetry-instrument"])
def test_gunicorn_with_gevent(dify: None, write: Any, tmp_path: Path, door: str, preload: bool) -> None:
    write("gunicorn.conf.py", GUNICORN_CONF % HARMFUL)
    port = free_port()
    flags = [
        "--bind",
        f"127.0.0.1:{port}",
        "--worker-class",
        "gevent",
        "--workers",
        "2",
        *(["--preload"] if preload else []),
    ]
    command, env = through(door, str(BIN / "gunicorn"), *flags, "app:app")
    # The same without us: gunicorn itself loads some of them.
    with server([str(BIN / "gunicorn"), *flags, "app:app"], tmp_path, environment(PYTHONPATH="-")) as process:
        wait_for(lambda: sum("patched" in f for f in facts((tmp_path / "log").read_text())) >= 2, process, tmp_path)
    without = next(f["early"] for f in facts((tmp_path / "log").read_text()) if "early" in f)
    with server(command, tmp_path, env) as process:
        answers = wait_for(lambda: get(port), process, tmp_path) and [get(port) for _ in range(12)]
        log = (tmp_path / "log").read_text()
    assert {a["sdk"] for a in answers} == {True}
    assert {a["role"] for a in answers} == {"api"}
    assert {a["door"] for a in answers} == {door}
    assert process.pid not in {a["pid"] for a in answers}
    early = [f for f in facts(log) if "early" in f]
    assert early
    if not preload:  # with it, the application itself is loaded before gevent can patch
        assert all(set(f["early"]) <= set(without) for f in early), early
        assert all(m in ("dify_otel", "dify_otel.start") for f in early for m in f["ours"])
    whole = (tmp_path / "log").read_text()
    assert whole.count("seams hooked") == len({a["pid"] for a in answers} | _told(whole))
    assert "Failed to detach" not in whole and "Traceback" not in whole


def _told(log: str) -> set[int]:
    """Workers that said they were patched: each starts one SDK, the arbiter none."""
    return set() if log.count("seams hooked") == 1 else {f["patched"] for f in facts(log) if "patched" in f}


@pytest.mark.parametrize("program", ["-c", "script", "-m app"])
def test_opentelemetry_instrument_with_other_programs(dify: None, write: Any, tmp_path: Path, program: str) -> None:
    source = "import os, sys; print('FACTS {\"pid\": %d, \"marked\": %d}' % (os.getpid(), 'DIFY_OTEL_REEXEC' in os.environ))\n"  # noqa: E501
    write("script.py", source)
    write("app.py", source + "import app_factory; app_factory.create_app()\n")
    arguments = {"-c": ["-c", source], "script": ["script.py"], "-m app": ["-m", "app"]}[program]
    command, env = through("opentelemetry-instrument", sys.executable, *arguments)
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    said = facts(done.stdout)
    assert len(said) == 1  # it ran once
    assert said[0]["marked"] == (1 if program == "-m app" else 0)
    assert done.stderr.count("seams hooked") == (1 if program == "-m app" else 0)


def test_a_patched_process_is_not_started_over(dify: None, write: Any, tmp_path: Path) -> None:
    write(
        "app.py",
        """
        import os
        from gevent import monkey
        monkey.patch_all()
        from dify_otel import distro
        calls = []
        os.execve = lambda *a: calls.append(a)
        distro.start_over()
        print("FACTS {\\"execs\\": %d}" % len(calls))
        """,
    )
    env = environment(PYTHONPATH=entry_points())
    done = subprocess.run(
        [sys.executable, "app.py"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert facts(done.stdout) == [{"execs": 0}], done.stderr


def test_children_of_a_process_that_started_over_start_normally(dify: None, write: Any, tmp_path: Path) -> None:
    write(
        "app.py",
        """
        import os, subprocess, sys
        import app_factory
        app_factory.create_app()
        if "CHILD" not in os.environ:
            for command in (["-m", "app"], ["-c", "print('plain')"]):
                done = subprocess.run([sys.executable, *command], env={**os.environ, "CHILD": "1"}, capture_output=True, text=True)
                print(done.stderr.count("seams hooked"), done.returncode, done.stdout.strip())
        """,  # noqa: E501
    )
    command, env = through("opentelemetry-instrument", sys.executable, "-m", "app")
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.split("\n")[:2] == ["1 0 ", "0 0 plain"], done.stdout + done.stderr
    assert done.stderr.count("seams hooked") == 1


CELERY_APP = """
import os, json, sys
from app_factory import initialize_extensions
import flask
from celery import Celery
flask_app = flask.Flask("dify")
celery = Celery("dify", broker="memory://", backend="cache+memory://")
initialize_extensions(flask_app)

def say(where):
    from dify_otel import start
    sdk = start.State.sdk
    fact = {"where": where, "role": start.State.role, "sdk": sdk is not None and sdk.pid == os.getpid()}
    print("FACTS " + json.dumps(fact), flush=True)

say("imported")
from celery.signals import worker_process_init, worker_ready
worker_process_init.connect(lambda **_: say("child"), weak=False)
worker_ready.connect(lambda **_: say("ready"), weak=False)
"""


@pytest.mark.parametrize("pool", ["prefork", "gevent", "solo"])
def test_celery_pools(dify: None, write: Any, tmp_path: Path, pool: str) -> None:
    write("app.py", CELERY_APP)
    command, env = through("sitecustomize", str(BIN / "celery"), "-A", "app.celery", "worker", "-P", pool, "-c", "1")
    env = {**env, "PYTHONUNBUFFERED": "1"}
    wanted = {"imported", "ready"} | ({"child"} if pool == "prefork" else set())

    def told() -> Any:
        found = facts((tmp_path / "log").read_text())
        return found if {f["where"] for f in found} >= wanted else None

    with server(command, tmp_path, env) as process:
        said = wait_for(told, process, tmp_path)
    state = {f["where"]: f["sdk"] for f in said}
    assert {f["role"] for f in said} == {"worker"}
    if pool == "prefork":  # a gRPC channel must not cross a fork: only the children have an SDK
        assert state == {"imported": False, "ready": False, "child": True}
    else:
        assert set(state.values()) == {True}
