"""A full tracing UI beside the terminal, when the user has one: Phoenix or Jaeger.

We start the program they installed on free loopback ports and pass on what arrives; Dify's settings stay as they
are. Growing a UI of our own beyond one page is not our work. A backend that is slow or gone costs dropped copies,
never a blocked receiver.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from types import TracebackType
from typing import IO, Self

READY_SECONDS = 300.0
"""Phoenix builds its database on the first start, which takes a while on a small machine."""

MAX_WAITING = 200
"""Export requests waiting for the backend; further ones are dropped and counted."""

_SEND_SECONDS = 10.0
_FLUSH_SECONDS = 2.0
_STOP_SECONDS = 5.0


class NotInstalled(Exception):
    """The backend is not on this machine. The message says what to type."""


class DidNotStart(Exception):
    """The backend is here and did not come up. The message says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How to start one backend and where it listens."""

    name: str
    command: tuple[str, ...]
    ui: str
    traces: str
    """Where OTLP/HTTP trace exports go."""
    environment: dict[str, str] = field(default_factory=dict)


def plan(name: str) -> Plan:
    """For "phoenix" or "jaeger". Raises `NotInstalled`."""
    return _phoenix() if name == "phoenix" else _jaeger()


def _phoenix() -> Plan:
    beside = os.path.join(os.path.dirname(sys.executable), "phoenix")
    program = beside if find_spec("phoenix") and os.access(beside, os.X_OK) else shutil.which("phoenix")
    if program is None:
        raise NotInstalled(
            "Phoenix is not installed. To get it:\n"
            "    pip install arize-phoenix\n"
            "then run this command again. (`pipx install arize-phoenix` works too.)"
        )
    page, grpc = _free_port(6006), _free_port(0)
    return Plan(
        name="Phoenix",
        command=(program, "serve"),
        ui=f"http://127.0.0.1:{page}",
        traces=f"http://127.0.0.1:{page}/v1/traces",
        # 4317 is where Dify sends, and that is us.
        environment={"PHOENIX_HOST": "127.0.0.1", "PHOENIX_PORT": str(page), "PHOENIX_GRPC_PORT": str(grpc)},
    )


def _jaeger() -> Plan:
    program = shutil.which("jaeger")
    if program is None:
        raise NotInstalled(
            "Jaeger is not installed: there is no `jaeger` on the PATH. To get it, download version 2 from\n"
            "    https://www.jaegertracing.io/download/\n"
            "unpack it, put `jaeger` on the PATH, then run this command again."
        )
    grpc, http = _free_port(0), _free_port(0)
    protocols = "receivers.otlp.protocols"
    return Plan(
        name="Jaeger",
        command=(
            program,
            f"--set={protocols}.grpc.endpoint=127.0.0.1:{grpc}",
            f"--set={protocols}.http.endpoint=127.0.0.1:{http}",
        ),
        ui="http://127.0.0.1:16686",
        traces=f"http://127.0.0.1:{http}/v1/traces",
    )


class Backend:
    """The running backend: started on entering, stopped on leaving.

    Raises `DidNotStart` on entering.
    """

    def __init__(self, chosen: Plan, log: IO[bytes], ready_seconds: float = READY_SECONDS) -> None:
        self.plan = chosen
        self.dropped = 0
        self._log = log
        self._ready_seconds = ready_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._waiting: queue.Queue[bytes | None] = queue.Queue(MAX_WAITING)
        self._sender = threading.Thread(target=self._send_all, name="dify-otel-tail-backend", daemon=True)

    def __enter__(self) -> Self:
        try:
            # Its own session: Ctrl-C is for us, and we end it in order.
            self._process = subprocess.Popen(
                self.plan.command,
                env={**os.environ, **self.plan.environment},
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise DidNotStart(f"{self.plan.name} could not be started: {error}") from error
        try:
            self._wait_until_ready(self._process)
        except BaseException:
            self._stop()
            raise
        self._sender.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(queue.Full):
            self._waiting.put(None, timeout=_FLUSH_SECONDS)
        self._sender.join(_FLUSH_SECONDS)
        self._stop()

    def pass_on(self, kind: str, body: bytes) -> None:
        """Takes one export request to send on; returns at once."""
        if kind == "traces":
            try:
                self._waiting.put_nowait(body)
            except queue.Full:
                self.dropped += 1

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        for _ in _ticks(self._ready_seconds):
            if process.poll() is not None:
                raise DidNotStart(f"{self.plan.name} ended at once with status {process.returncode}")
            if _answers(self.plan.ui):
                return
        raise DidNotStart(f"{self.plan.name} did not answer at {self.plan.ui} within {self._ready_seconds:g} s")

    def _send_all(self) -> None:
        while (body := self._waiting.get()) is not None:
            request = urllib.request.Request(
                self.plan.traces, body, {"Content-Type": "application/x-protobuf"}, method="POST"
            )
            try:
                with _direct().open(request, timeout=_SEND_SECONDS):
                    pass
            except (OSError, ValueError):
                self.dropped += 1

    def _stop(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        for how in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_SECONDS)
                return


@cache
def _direct() -> urllib.request.OpenerDirector:
    """Loopback never goes through a proxy, whatever the environment says."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _answers(url: str) -> bool:
    try:
        with _direct().open(url, timeout=2):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def _ticks(seconds: float, every: float = 0.2, sleep: Callable[[float], None] = time.sleep) -> Iterator[None]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
        sleep(every)


def _free_port(wanted: int) -> int:
    for port in (wanted, 0):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise DidNotStart("no free port on 127.0.0.1")
