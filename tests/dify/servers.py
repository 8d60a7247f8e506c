"""A real Dify with everything around it, on free loopback ports and in a folder of its own.

PostgreSQL, Redis, the plugin daemon's and the sandbox's stand-ins live as long as a test session; API and Celery
worker start again for every set-up, by that release's own `docker/entrypoint.sh`. Words before its commands
(`opentelemetry-instrument`) come in by programs of the same name, first on PATH: nothing of Dify's is edited.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.standin import processes
from tests.standin.processes import Process, StartError, answers, free_port, spawn, until

HERE = Path(__file__).resolve().parent
SERVICES = HERE.parent / "standin" / "services"
READY_SECONDS = 240.0
"""A cold import of Dify takes half a minute on a fast machine; on a loaded one much longer."""
PASSWORD = "postgres-password-of-the-harness"
AGENT_TOKEN = "agent-token-of-the-harness"


@dataclass(frozen=True)
class Dify:
    """One release: its `api` folder and an interpreter with its packages."""

    api_dir: Path
    python: Path

    @property
    def release(self) -> str:
        text = (self.api_dir / "pyproject.toml").read_text(encoding="utf-8")
        found = re.search(r'^version = "([^"]+)"', text, re.MULTILINE)
        return found.group(1) if found else "unknown"


@dataclass(frozen=True)
class Servers:
    """Addresses of what runs, and the environment of Dify's processes."""

    dify: Dify
    directory: Path
    base: str
    daemon: str
    vectors: bool
    """Whether a PostgreSQL with pgvector runs: without it there is no dataset."""
    environment: Mapping[str, str]
    processes: dict[str, Process] = field(default_factory=dict)


@dataclass(frozen=True)
class Setup:
    """How API and worker are started: variables, and words before gunicorn's and celery's commands."""

    name: str
    environment: Mapping[str, str] = field(default_factory=dict)
    wrap: tuple[str, ...] = ()


def _programs(named: str) -> Path | None:
    """PostgreSQL's programs: the folder in that variable, or what Debian installed."""
    given = os.environ.get(named)
    return Path(given) if given else processes._postgres_programs()


def _has_pgvector(programs: Path) -> bool:
    asked = subprocess.run([programs / "pg_config", "--sharedir"], capture_output=True, text=True, check=False)
    folders = [Path(asked.stdout.strip())] if asked.returncode == 0 else []
    folders.append(Path("/usr/share/postgresql") / programs.parent.name)
    return any((folder / "extension" / "vector.control").is_file() for folder in folders)


def vector_programs() -> Path | None:
    """The PostgreSQL that carries pgvector, or None."""
    programs = _programs("DIFY_PGVECTOR_BIN")
    return programs if programs is not None and _has_pgvector(programs) else None


def _postgres(name: str, programs: Path, directory: Path, port: int) -> Process:
    data = directory / f"{name}-data"
    data.mkdir()
    identity: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        account = pwd.getpwnam("postgres")
        os.chown(data, account.pw_uid, account.pw_gid)
        identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    made = subprocess.run(
        [programs / "initdb", "-D", data / "db", "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-sync"],
        cwd=data,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        **identity,
    )
    if made.returncode:
        raise StartError(f"initdb ended with {made.returncode}\n{made.stderr[-2000:]}")
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": data,
        "max_connections": 200,
        "fsync": "off",
    }
    command: list[str | Path] = [programs / "postgres", "-D", data / "db"]
    for setting, value in settings.items():
        command += ["-c", f"{setting}={value}"]
    process = spawn(name, command, directory, cwd=data, **identity)
    probe: list[str | Path] = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
    until(lambda: subprocess.run(probe, check=False).returncode == 0, process, 60)
    return process


def _sql(programs: Path, port: int, database: str, *statements: str) -> None:
    command: list[str | Path] = [programs / "psql", "-q", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres"]
    for statement in statements:
        subprocess.run([*command, "-d", database, "-c", statement], check=True, capture_output=True)


def _folder() -> Path:
    """A folder the `postgres` account may enter, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="dify-harness-"))
    folder.chmod(0o755)
    return folder


def missing() -> str | None:
    """What this machine lacks, in words for a skipped test."""
    if shutil.which("redis-server") is None:
        return "redis-server is not installed"
    if _programs("DIFY_POSTGRES_BIN") is None:
        return "PostgreSQL (initdb, postgres) is not installed"
    return None


def _environment(dify: Dify, directory: Path, ports: Mapping[str, int]) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("HOME", "TMPDIR") if name in os.environ}
    base = f"http://127.0.0.1:{ports['api']}"
    urls = (
        "CONSOLE_API_URL",
        "SERVICE_API_URL",
        "FILES_URL",
        "INTERNAL_FILES_URL",
        "TRIGGER_URL",
        "ENDPOINT_URL_TEMPLATE",
    )
    return {
        **kept,
        **dict.fromkeys(urls, base),
        "PATH": f"{dify.python.parent}{os.pathsep}{os.environ['PATH']}",
        "VIRTUAL_ENV": str(dify.python.parent.parent),
        "PYTHONUNBUFFERED": "1",
        "DEPLOY_ENV": "PRODUCTION",
        "EDITION": "SELF_HOSTED",
        "SECRET_KEY": "a-key-of-the-harness-and-of-nothing-else-0123456789",
        "CONSOLE_WEB_URL": base,
        "APP_WEB_URL": base,
        "DB_TYPE": "postgresql",
        "DB_HOST": "127.0.0.1",
        "DB_PORT": str(ports["postgres"]),
        "DB_USERNAME": "postgres",
        "DB_PASSWORD": PASSWORD,
        "DB_DATABASE": "dify",
        "REDIS_HOST": "127.0.0.1",
        "REDIS_PORT": str(ports["redis"]),
        "REDIS_DB": "0",
        "CELERY_BROKER_URL": f"redis://127.0.0.1:{ports['redis']}/1",
        "CELERY_BACKEND": "redis",
        "BROKER_USE_SSL": "false",
        "STORAGE_TYPE": "opendal",
        "OPENDAL_SCHEME": "fs",
        "OPENDAL_FS_ROOT": str(directory / "storage"),
        "VECTOR_STORE": "pgvector",
        "PGVECTOR_HOST": "127.0.0.1",
        "PGVECTOR_PORT": str(ports["vectors"]),
        "PGVECTOR_USER": "postgres",
        "PGVECTOR_PASSWORD": PASSWORD,
        "PGVECTOR_DATABASE": "vectors",
        "PLUGIN_DAEMON_URL": f"http://127.0.0.1:{ports['plugin']}",
        "PLUGIN_DAEMON_KEY": "plugin-api-key",
        "INNER_API_KEY_FOR_PLUGIN": "inner-key",
        "PLUGIN_DIFY_INNER_API_KEY": "inner-key",
        "CODE_EXECUTION_ENDPOINT": f"http://127.0.0.1:{ports['sandbox']}",
        "CODE_EXECUTION_API_KEY": "dify-sandbox",
        "AGENT_BACKEND_BASE_URL": f"http://127.0.0.1:{ports['agents']}",
        "AGENT_BACKEND_API_TOKEN": AGENT_TOKEN,
        "MARKETPLACE_ENABLED": "false",
        "CHECK_UPDATE_URL": "",
        "DISABLE_TELEMETRY": "true",
        "MIGRATION_ENABLED": "false",
        "LOG_LEVEL": "INFO",
        "LOG_FILE": "",
        "DIFY_BIND_ADDRESS": "127.0.0.1",
        "DIFY_PORT": str(ports["api"]),
        "CELERY_WORKER_AMOUNT": "4",
        "ENABLE_OTEL": "false",
    }


@contextlib.contextmanager
def servers(dify: Dify) -> Iterator[Servers]:
    """Everything but API and worker, with a migrated database.

    `DIFY_POSTGRES_BIN` and `DIFY_PGVECTOR_BIN` name folders with PostgreSQL's programs; `DIFY_HARNESS_KEEP` keeps the
    folder with the logs.
    """
    directory = _folder()
    (directory / "storage").mkdir()
    ports = {
        name: free_port() for name in ("postgres", "vectors", "redis", "api", "plugin", "sandbox", "agents", "shell")
    }
    running: dict[str, Process] = {}
    programs, pgvector = _programs("DIFY_POSTGRES_BIN"), vector_programs()
    if programs is None:
        raise StartError("PostgreSQL is not installed")
    try:
        environment = _environment(dify, directory, ports)
        running["postgres"] = _postgres("postgres", programs, directory, ports["postgres"])
        _sql(programs, ports["postgres"], "postgres", "create database dify")
        if pgvector is not None:
            running["vectors"] = _postgres("vectors", pgvector, directory, ports["vectors"])
            _sql(programs, ports["vectors"], "postgres", "create database vectors")
            _sql(programs, ports["vectors"], "vectors", "create extension vector")
        running["redis"] = processes._redis(directory, ports["redis"])
        base = f"http://127.0.0.1:{ports['api']}"
        services = {"plugin": HERE / "plugin_daemon.py", "sandbox": SERVICES / "sandbox.py", "shell": HERE / "shell.py"}
        for name, program in services.items():
            more = ["--inner-api", base] if name == "plugin" else []
            command: list[str | Path] = [sys.executable, program, "--port", str(ports[name]), *more]
            clean = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL", "PYTHON", "DIFY"))}
            running[name] = spawn(name, command, directory, env=clean)
            url = f"http://127.0.0.1:{ports[name]}/health"
            until(lambda url=url: answers(url), running[name], 30)  # type: ignore[misc]
        if os.environ.get("DIFY_AGENT_PYTHON"):
            running["agents"] = _agents(Path(os.environ["DIFY_AGENT_PYTHON"]), directory, ports)
        _migrate(dify, environment)
        yield Servers(
            dify, directory, base, environment["PLUGIN_DAEMON_URL"], pgvector is not None, environment, running
        )
    finally:
        for process in reversed(running.values()):
            process.stop(5)
        if not os.environ.get("DIFY_HARNESS_KEEP"):
            shutil.rmtree(directory, ignore_errors=True)


def _agents(python: Path, directory: Path, ports: Mapping[str, int]) -> Process:
    """Dify's own agent backend (1.15 and later)."""
    url = f"http://127.0.0.1:{ports['agents']}"
    environment = {
        "PATH": os.environ["PATH"],
        "DIFY_AGENT_REDIS_URL": f"redis://127.0.0.1:{ports['redis']}/3",
        "DIFY_AGENT_PLUGIN_DAEMON_URL": f"http://127.0.0.1:{ports['plugin']}",
        "DIFY_AGENT_PLUGIN_DAEMON_API_KEY": "plugin-api-key",
        "DIFY_AGENT_INNER_API_URL": f"http://127.0.0.1:{ports['api']}",
        "DIFY_AGENT_INNER_API_KEY": "inner-key",
        "DIFY_AGENT_API_TOKEN": AGENT_TOKEN,
        "DIFY_AGENT_SHELLCTL_ENTRYPOINT": f"http://127.0.0.1:{ports['shell']}",
    }
    words = ("-m", "uvicorn", "dify_agent.server.app:app", "--host", "127.0.0.1", "--port", str(ports["agents"]))
    process = spawn("agents", [python, *words], directory, env=environment)
    until(lambda: answers(f"{url}/openapi.json"), process, 60)
    return process


def _migrate(dify: Dify, environment: Mapping[str, str]) -> None:
    """As the entrypoint does with `MIGRATION_ENABLED=true`, but once."""
    ran = subprocess.run(
        [dify.python, "-m", "flask", "upgrade-db"],
        cwd=dify.api_dir,
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if ran.returncode or "failed" in ran.stdout.lower():
        raise StartError(f"flask upgrade-db ended with {ran.returncode}\n{ran.stdout[-1500:]}\n{ran.stderr[-3000:]}")


def _wrapped(running: Servers, setup: Setup) -> str:
    """PATH with programs named as the entrypoint's, which put the words before and go on to the real ones."""
    binaries = running.dify.python.parent
    path = running.environment["PATH"]
    if not setup.wrap:
        return path
    folder = running.directory / f"wrap-{setup.name}"
    folder.mkdir(exist_ok=True)
    for name in ("gunicorn", "celery"):
        program = folder / name
        words = " ".join(f"'{word}'" for word in (*setup.wrap, str(binaries / name)))
        program.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        program.chmod(0o755)
    return f"{folder}{os.pathsep}{path}"


def _entrypoint(running: Servers, mode: str, setup: Setup) -> Process:
    environment = {**running.environment, "PATH": _wrapped(running, setup), "MODE": mode, **setup.environment}
    name = f"{mode}-{setup.name}"
    command: Sequence[str | Path] = ["bash", running.dify.api_dir / "docker" / "entrypoint.sh"]
    return spawn(name, command, running.directory, cwd=running.dify.api_dir, env=environment)


@dataclass(frozen=True)
class Processes:
    """API and worker of one set-up."""

    api: Process
    worker: Process

    def forbidden(self) -> list[str]:
        """Lines of either log that must not be there."""
        bad = ("Failed to detach", "MonkeyPatchWarning", "AssertionError", "telemetry failed")
        both = ((p.name, line) for p in (self.api, self.worker) for line in p.text().splitlines())
        return [f"{name}: {line[:300]}" for name, line in both if any(word in line for word in bad)]


@contextlib.contextmanager
def started(running: Servers, setup: Setup) -> Iterator[Processes]:
    """API and worker, both ready. Raises `StartError` with the end of a log.

    Those of the set-up before are stopped first: a fixture with parameters lives on behind the last test that uses it.
    """
    for before in (running.processes.pop("worker", None), running.processes.pop("api", None)):
        if before is not None:
            before.stop(20)
    api = _entrypoint(running, "api", setup)
    worker = _entrypoint(running, "worker", setup)
    running.processes.update(api=api, worker=worker)
    try:
        until(lambda: answers(f"{running.base}/health"), api, READY_SECONDS)
        until(lambda: bool(re.search(r" ready\.\s*$", worker.text(), re.MULTILINE)), worker, READY_SECONDS)
        yield Processes(api, worker)
    finally:
        worker.stop(20)
        api.stop(20)


@contextlib.contextmanager
def beating(running: Servers, setup: Setup) -> Iterator[Process]:
    """Celery's beat beside API and worker. Raises `StartError` with the end of its log."""
    kept = set(running.dify.api_dir.glob("celerybeat-schedule*"))
    beat = _entrypoint(running, "beat", setup)
    running.processes["beat"] = beat
    try:
        until(lambda: "beat: Starting..." in beat.text(), beat, READY_SECONDS)
        yield beat
    finally:
        running.processes.pop("beat").stop(20)
        for made in set(running.dify.api_dir.glob("celerybeat-schedule*")) - kept:  # when each task ran last
            made.unlink(missing_ok=True)
