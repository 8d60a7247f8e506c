"""Starts the stand-in as Dify is deployed: Redis, PostgreSQL, plugin daemon, sandbox, gunicorn and a Celery worker.

Everything listens on free loopback ports, is waited for by condition, and is stopped by the process ids started here.
`backing` holds the slow parts (servers and seeded database) so that many `api` and `worker` processes can share them.
By hand: `python processes.py --python VENV/bin/python` runs until interrupted and prints where everything is.
"""

import argparse
import contextlib
import glob
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
DIFY = HERE / "dify"
QUEUES = (
    "dataset,ops_trace,workflow,workflow_based_app_execution,pipeline,schedule_executor,triggered_workflow_dispatcher"
)
GEVENT_WEBSOCKET = "geventwebsocket.gunicorn.workers.GeventWebSocketWorker"


class StartError(RuntimeError):
    """A process ended early or did not become ready; the message ends with the tail of its log."""


@dataclass
class Process:
    """A child in a session of its own: `stop` reaches its forked workers too, and nothing else."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.popen.pid

    def text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def tail(self, lines: int = 30) -> str:
        return "\n".join(self.text().splitlines()[-lines:])

    def stop(self, seconds: float = 15.0) -> int:
        """SIGTERM, then SIGKILL for the whole session. Returns the exit status of the first process."""
        if self.popen.poll() is None:
            self.popen.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        return self.popen.wait(10)


@dataclass(frozen=True)
class Backing:
    """Addresses of the running servers, the environment of Dify's processes, and what `seed.py` created."""

    directory: Path
    python: Path
    base: str
    daemon: str
    sandbox: str
    environment: Mapping[str, str]
    seeded: Mapping[str, Any]
    processes: Mapping[str, Process] = field(default_factory=dict)

    @property
    def apps(self) -> Mapping[str, Mapping[str, str]]:
        apps: Mapping[str, Mapping[str, str]] = self.seeded["apps"]
        return apps


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def until(condition: Callable[[], bool], process: Process, seconds: float) -> None:
    """Waits for the condition; raises `StartError` when the process ends or the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        if process.popen.poll() is not None:
            raise StartError(f"{process.name} ended with {process.popen.returncode}\n{process.tail()}")
        with contextlib.suppress(OSError):
            if condition():
                return
        if time.monotonic() > deadline:
            process.stop(1)
            raise StartError(f"{process.name} was not ready within {seconds:g} s\n{process.tail()}")
        time.sleep(0.05)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except urllib.error.HTTPError:
        return False


def spawn(name: str, command: Sequence[str | Path], directory: Path, **options: Any) -> Process:
    log = directory / f"{name}.log"
    with log.open("ab") as output:
        popen = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **options,
        )
    return Process(name, popen, log)


def missing(database: str = "postgresql") -> str | None:
    """What this machine lacks for `backing`, in words for a skipped test; None when it lacks nothing."""
    if shutil.which("redis-server") is None:
        return "redis-server is not installed"
    if database == "postgresql" and _postgres_programs() is None:
        return "PostgreSQL (initdb, postgres) is not installed"
    return None


def _postgres_programs() -> Path | None:
    found = [Path(path).parent for path in glob.glob("/usr/lib/postgresql/*/bin/initdb")]
    on_path = shutil.which("initdb")
    if on_path:
        found.append(Path(on_path).resolve().parent)
    return max(found, key=lambda path: path.parent.name, default=None)


def _redis(directory: Path, port: int) -> Process:
    process = spawn(
        "redis",
        ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"],
        directory,
        cwd=directory,
    )

    def ready() -> bool:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")

    until(ready, process, 20)
    return process


def _postgres(directory: Path, port: int, data: Path) -> Process:
    programs = _postgres_programs()
    if programs is None:
        raise StartError("PostgreSQL (initdb, postgres) is not installed")
    # PostgreSQL refuses to run as root: then it runs as its own user, in a folder that user can enter.
    identity: dict[str, Any] = {}
    if os.geteuid() == 0:
        account = pwd.getpwnam("postgres")
        os.chown(data, account.pw_uid, account.pw_gid)
        identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    subprocess.run(
        [str(programs / "initdb"), "-D", str(data / "db"), "-U", "dify", "--auth=trust", "-E", "UTF8", "--no-sync"],
        check=True,
        cwd=data,
        stdout=subprocess.DEVNULL,
        **identity,
    )
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": data,
        "max_connections": 200,
        "fsync": "off",
    }
    command = [str(programs / "postgres"), "-D", str(data / "db")]
    for setting, value in settings.items():
        command += ["-c", f"{setting}={value}"]
    process = spawn("postgres", command, directory, cwd=data, **identity)
    probe = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port), "-U", "dify", "-d", "postgres"]
    until(lambda: subprocess.run(probe, check=False).returncode == 0, process, 30)
    return process


def _clean_environment(python: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "LC_ALL", "TMPDIR") if name in os.environ}
    return {**kept, "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}


@contextlib.contextmanager
def backing(directory: Path, python: Path | str = sys.executable, *, database: str = "postgresql") -> Iterator[Backing]:
    """Redis, database, plugin daemon and sandbox, seeded. `python` has `requirements.txt` installed.

    `database` is `postgresql` or `sqlite` (a file: works without PostgreSQL, but its SQL never waits on a socket).
    """
    python = Path(python)
    directory.mkdir(parents=True, exist_ok=True)
    processes: dict[str, Process] = {}
    data = Path(tempfile.mkdtemp(prefix="standin-pg-"))
    redis, postgres, api, plugin, sandbox = (free_port() for _ in range(5))
    try:
        processes["redis"] = _redis(directory, redis)
        environment = {
            **_clean_environment(python),
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": str(redis),
            "CELERY_BROKER_URL": f"redis://127.0.0.1:{redis}/1",
            "PLUGIN_DAEMON_URL": f"http://127.0.0.1:{plugin}",
            "PLUGIN_DAEMON_KEY": "plugin-api-key",
            "INNER_API_KEY_FOR_PLUGIN": "inner-key",
            "CODE_EXECUTION_ENDPOINT": f"http://127.0.0.1:{sandbox}",
            "CODE_EXECUTION_API_KEY": "dify-sandbox",
        }
        if database == "postgresql":
            processes["postgres"] = _postgres(directory, postgres, data)
            settings = {"HOST": "127.0.0.1", "PORT": str(postgres), "USERNAME": "dify", "DATABASE": "postgres"}
            environment |= {f"DB_{name}": value for name, value in settings.items()}
        else:
            environment["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{directory / 'dify.db'}"
        base = f"http://127.0.0.1:{api}"
        services = HERE / "services"
        for name, port, more in (("plugin_daemon", plugin, ["--inner-api", base]), ("sandbox", sandbox, [])):
            command = [str(python), str(services / f"{name}.py"), "--port", str(port), *more]
            processes[name] = spawn(name, command, directory, env=_clean_environment(python))
            url = f"http://127.0.0.1:{port}/health"
            until(lambda url=url: answers(url), processes[name], 20)  # type: ignore[misc]
        seeded = subprocess.run(
            [str(python), str(HERE / "seed.py"), "--daemon", environment["PLUGIN_DAEMON_URL"]],
            cwd=DIFY,
            env=environment,
            check=False,
            capture_output=True,
            text=True,
        )
        if seeded.returncode:
            raise StartError(f"seed.py ended with {seeded.returncode}\n{seeded.stderr[-3000:]}")
        yield Backing(
            directory=directory,
            python=python,
            base=base,
            daemon=environment["PLUGIN_DAEMON_URL"],
            sandbox=environment["CODE_EXECUTION_ENDPOINT"],
            environment=environment,
            seeded=json.loads(seeded.stdout.splitlines()[-1]),
            processes=processes,
        )
    finally:
        for process in reversed(processes.values()):
            process.stop(5)
        shutil.rmtree(data, ignore_errors=True)


@contextlib.contextmanager
def api(
    backing: Backing,
    *,
    environment: Mapping[str, str] | None = None,
    wrap: Sequence[str | Path] = (),
    worker_class: str = GEVENT_WEBSOCKET,
    workers: int = 1,
    connections: int = 100,
    name: str = "api",
    seconds: float = 60.0,
) -> Iterator[Process]:
    """gunicorn with the command of Dify's entrypoint. `wrap` is put before it, `environment` added to it.

    `worker_class` `gthread` runs it in plain threads.
    """
    command: list[str | Path] = [
        *wrap,
        backing.python.parent / "gunicorn",
        "--no-control-socket",
        *("--bind", backing.base.removeprefix("http://")),
        *("--workers", str(workers)),
        *("--worker-class", worker_class),
        *("--worker-connections", str(connections)),
        *("--timeout", "200"),
        *(["--threads", "16"] if worker_class == "gthread" else []),
        "app:socketio_app",
    ]
    process = spawn(name, command, backing.directory, cwd=DIFY, env={**backing.environment, **(environment or {})})
    try:
        until(lambda: answers(f"{backing.base}/health"), process, seconds)
        yield process
    finally:
        process.stop()


@contextlib.contextmanager
def worker(
    backing: Backing,
    *,
    environment: Mapping[str, str] | None = None,
    wrap: Sequence[str | Path] = (),
    pool: str = "gevent",
    concurrency: int = 8,
    max_tasks: int = 50,
    name: str = "worker",
    seconds: float = 60.0,
) -> Iterator[Process]:
    """A Celery worker with the command of Dify's entrypoint. `pool`: gevent, prefork, threads or solo."""
    command: list[str | Path] = [
        *wrap,
        backing.python.parent / "celery",
        # celery_entrypoint makes psycopg2 wait in gevent's loop: right for gevent, wrong for plain threads.
        *("-A", "app.celery" if pool in ("threads", "solo") else "celery_entrypoint.celery"),
        "worker",
        *("-P", pool),
        *("-c", str(concurrency)),
        *("--max-tasks-per-child", str(max_tasks)),
        *("--loglevel", "INFO"),
        *("-Q", QUEUES),
        "--prefetch-multiplier=1",
    ]
    process = spawn(name, command, backing.directory, cwd=DIFY, env={**backing.environment, **(environment or {})})
    ready = process.text().count(" ready.")
    try:
        until(lambda: process.text().count(" ready.") > ready, process, seconds)
        yield process
    finally:
        process.stop()


def send(backing: Backing, module: str, task: str, *arguments: Any) -> None:
    """Queues a task, as Celery's beat does: from a process of its own that nobody instruments."""
    program = f"from app import app; from {module} import {task} as t; t.delay(*{list(arguments)!r})"
    subprocess.run(
        [str(backing.python), "-c", program], cwd=DIFY, env=dict(backing.environment), check=True, timeout=60
    )


def headers_seen(address: str, *, forget: bool = False) -> list[dict[str, Any]]:
    """The requests a stand-in service received: method, path, note (model or tool), headers in lower case."""
    request = urllib.request.Request(f"{address}/__headers", method="DELETE" if forget else "GET")
    with urllib.request.urlopen(request, timeout=10) as response:
        seen: list[dict[str, Any]] = json.loads(response.read())
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description="Runs the stand-in until interrupted.")
    parser.add_argument("--python", default=sys.executable, help="an interpreter with requirements.txt installed")
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()) / "standin")
    parser.add_argument("--database", choices=("postgresql", "sqlite"), default="postgresql")
    parser.add_argument("--worker-class", default=GEVENT_WEBSOCKET)
    parser.add_argument("--pool", default="gevent")
    parser.add_argument("--env", action="append", default=[], help="NAME=VALUE for API and worker")
    parser.add_argument("--wrap", default="", help="command put before gunicorn and celery")
    options = parser.parse_args()
    more = dict(item.split("=", 1) for item in options.env)
    wrap = options.wrap.split()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        contextlib.suppress(KeyboardInterrupt),
        backing(options.directory, options.python, database=options.database) as servers,
        api(servers, environment=more, wrap=wrap, worker_class=options.worker_class) as web,
        worker(servers, environment=more, wrap=wrap, pool=options.pool) as tasks,
    ):
        (options.directory / "seed.json").write_text(json.dumps(servers.seeded))
        (options.directory / "environment.json").write_text(json.dumps(dict(servers.environment)))
        print(
            f"api {servers.base} (pid {web.pid})  worker (pid {tasks.pid})\n"
            f"plugin daemon {servers.daemon}  sandbox {servers.sandbox}\n"
            f"seed {options.directory / 'seed.json'}",
            flush=True,
        )
        web.popen.wait()


if __name__ == "__main__":
    main()
