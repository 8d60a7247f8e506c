"""Calls that do not end as they should: killed greenlets, a clock that goes back, forks, an interpreter that ends."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from dify_otel_instrumentors.core.operation import Operation
from dify_otel_instrumentors.core.wrapper import instrument

from tests.faults import backend as backends

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = Path(__file__).parent / "program.py"

PRELUDE = """
import os, sys, time
from dify_otel_instrumentors.core.operation import Operation
from dify_otel_instrumentors.core.wrapper import instrument
thing = Operation(concept="thing", name=lambda f: "thing", before=lambda a, e: ())
"""
RECORDING = """
from dify_otel_instrumentors.core import guard, span
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
kept = InMemorySpanExporter()
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(SimpleSpanProcessor(kept))
span.configure(provider.get_tracer("test"))
from opentelemetry import trace
def told():
    return [(s.name, dict(s.attributes).get("error.type"), dict(s.attributes).get("dify.stream.outcome"))
            for s in kept.get_finished_spans()]
"""


def python(program: str, before: str = "", seconds: float = 60, **more: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "DIFY_OTEL_"))}
    env = {
        **kept,
        "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("bootstrap", "instrumentors")),
        **more,
    }
    return subprocess.run(
        [sys.executable, "-c", before + PRELUDE + textwrap.dedent(program)],
        env=env, capture_output=True, text=True, timeout=seconds, check=False,
    )  # fmt: skip


PATCHED = "from gevent import monkey; monkey.patch_all()\nimport gevent\n" + RECORDING


@pytest.mark.parametrize("kind", ["GreenletExit", "Timeout"])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_greenlet_killed_inside_a_call(kind: str, streamed: bool) -> None:
    done = python(
        f"""
        seen = []
        def work():
            gevent.sleep(30)
        def stream():
            yield 1
            gevent.sleep(30)
            yield 2
        def run():
            limit = gevent.Timeout.start_new(0.05) if {kind!r} == "Timeout" else None
            try:
                for _ in instrument(stream, thing)() if {streamed} else [instrument(work, thing)()]:
                    pass
            except BaseException as error:
                seen.append(type(error).__name__)
                seen.append(limit is None or error is limit)
                raise
        greenlet = gevent.spawn(run)
        gevent.sleep(0.2)
        if {kind!r} == "GreenletExit":
            greenlet.kill()
        greenlet.join(5)
        assert greenlet.dead
        # Nothing stays current in whoever comes after it in the same thread.
        assert not trace.get_current_span().get_span_context().is_valid
        print(seen, told(), guard.counts())
        """,
        PATCHED,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"[{kind!r}, True] [('thing', {kind!r}, None)] {{}}"
    assert "telemetry" not in done.stderr and "Failed to detach" not in done.stderr


def test_a_stream_whose_consumer_is_killed_between_two_items() -> None:
    done = python(
        """
        def stream():
            for i in range(100):
                yield i
        def run():
            for _ in instrument(stream, thing)():
                gevent.sleep(30)
        greenlet = gevent.spawn(run)
        gevent.sleep(0.05)
        greenlet.kill()
        del greenlet
        import gc; gc.collect()
        print(told(), guard.counts())
        """,
        PATCHED,
    )
    assert done.stdout.strip() == "[('thing', None, 'cancelled')] {}", done.stderr


@pytest.mark.parametrize("how", ["return", "sys.exit", "raise", "thread"])
def test_an_interpreter_that_ends_with_calls_under_way(how: str) -> None:
    """A half-read stream in a global, a call in a daemon thread, a cycle: nothing is said, the status is the same."""
    program = f"""
        import threading
        class Holder: pass
        def stream():
            try:
                yield 1
                yield 2
            finally:
                os.write(1, b"closed ")
        wrap = (lambda f: instrument(f, thing)) if os.environ.get("INSTRUMENT") else (lambda f: f)
        live = wrap(stream)()
        next(live)
        holder = Holder(); holder.me = holder; holder.stream = wrap(stream)(); next(holder.stream)
        threading.Thread(target=wrap(lambda: time.sleep(60)), daemon=True).start()
        how = {how!r}
        if how == "sys.exit": sys.exit(3)
        if how == "raise": raise SystemError("of Dify")
        if how == "thread": threading.Thread(target=lambda: (time.sleep(0.2), list(live))).start()
        """
    with backends.Backend("grpc") as backend:
        sdk = "from dify_otel import sdk, settings\nsdk.start(settings.current(), 'job')\n"
        end = {"OTEL_EXPORTER_OTLP_ENDPOINT": backend.endpoint, "DIFY_OTEL_FLUSH_SECONDS": "5"}
        bare, with_us = python(program), python(program, sdk, INSTRUMENT="1", **end)
    assert with_us.returncode == bare.returncode
    assert sorted(with_us.stdout.split()) == sorted(bare.stdout.split())
    said = [line for line in with_us.stderr.splitlines() if not line.startswith("dify-otel ")]
    assert [line for line in said if "File" not in line] == [
        line for line in bare.stderr.splitlines() if "File" not in line
    ]


def test_a_clock_that_goes_back(recorded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """NTP steps the clock an hour back in the middle of a call: it does not end before it began."""
    import time

    from dify_otel_instrumentors.core import span

    real, step = time.time_ns, [0]
    monkeypatch.setattr(time, "time_ns", lambda: real() - step[0])
    monkeypatch.setattr(span, "time_ns", lambda: real() - step[0])
    monkeypatch.setattr("opentelemetry.sdk.trace.time_ns", lambda: real() - step[0])

    def work() -> None:
        step[0] += 3_600 * 10**9
        time.sleep(0.02)

    thing = Operation(concept="thing", name=lambda f: "thing", before=lambda a, e: ())
    instrument(work, thing)()
    ended = recorded.span("thing")
    assert 0.02e9 <= ended.end_time - ended.start_time < 5e9


def test_a_fork_while_exporting() -> None:
    """Children forked in the middle of an export end at once, send their own spans once and nobody else's."""
    program = """
        from dify_otel import sdk, settings
        from dify_otel_instrumentors.core import metrics
        started = sdk.start(settings.current(), "job")
        def work(): return 1
        call = instrument(work, thing)
        for round in range(5):
            for _ in range(200): call()
            time.sleep(0.05)  # an export is under way
            pid = os.fork()
            if pid == 0:
                for _ in range(3): call()
                started.flush()
                os._exit(1 if metrics.active() else 0)  # its points would wait on locks that nobody holds
            began = time.monotonic()
            _, status = os.waitpid(pid, 0)
            assert status == 0 and time.monotonic() - began < 10, (status, time.monotonic() - began)
        assert metrics.active()
        print(started.spans.exported)
        """
    with backends.Backend("http/protobuf") as backend:
        done = python(
            program,
            OTEL_EXPORTER_OTLP_ENDPOINT=backend.endpoint,
            OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
            OTEL_BSP_SCHEDULE_DELAY="20",
            DIFY_OTEL_FLUSH_SECONDS="10",
        )
    assert done.returncode == 0, done.stderr
    ids = [span.span_id for span in backend.spans]
    assert len(ids) == len(set(ids)) == 5 * 203, done.stderr


def test_a_fork_has_a_connection_of_its_own() -> None:
    """On one that both use, parent and copy would read each other's answers."""
    asked: list[tuple[int, bytes]] = []

    class Keeping(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/traces":
                asked.append((self.client_address[1], body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None: ...

    program = """
        from dify_otel import sdk, settings
        started = sdk.start(settings.current(), "job")
        def work(): return 1
        def send(name):
            instrument(work, Operation(concept="thing", name=lambda f: name, before=lambda a, e: ()))()
            started.flush()
        send("first")
        if os.fork() == 0:
            send("copy")
            os._exit(0)
        assert os.wait()[1] == 0
        send("second")
        """
    with ThreadingHTTPServer(("127.0.0.1", 0), Keeping) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            done = python(
                program,
                OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{server.server_port}",
                OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
                DIFY_OTEL_FLUSH_SECONDS="10",
            )
        finally:
            server.shutdown()
    assert done.returncode == 0, done.stderr
    ports = [next(port for port, body in asked if name in body) for name in (b"first", b"copy", b"second")]
    assert ports[0] == ports[2] != ports[1]


DISK = """
set -e
mount -t tmpfs -o size=16k,mode=1777 tmpfs "$DISK"
cd "$DISK"
%s
! echo more >another
exec "$@"
"""
"""In a mount namespace of its own: a disk that holds the status file, temporary files and the current folder."""
FULL = 'exec 2>"$DISK/stderr"\ncat /dev/zero >filler || true'
SHELL = {
    "stderr full": '"$@" 2>/dev/full',
    "stderr closed": '"$@" 2>&-',
    "no file may grow": 'ulimit -f 0; cd /proc; exec "$@"',
    "disk full": DISK % FULL,
    "disk read-only": DISK % 'mount -o remount,ro "$DISK"',
}


@pytest.mark.parametrize("how", SHELL)
def test_nowhere_to_write(how: str, tmp_path: Path) -> None:
    """Standard error full or closed, no file may grow, the disk full or read-only: spans arrive all the same."""
    shell = ["sh", "-c", SHELL[how], "sh"]
    place = "/proc"
    if how.startswith("disk"):
        shell = ["unshare", "-m", *shell]
        place = str(tmp_path)
        if subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", place], check=False).returncode:
            pytest.skip("may not mount a disk here")
    with backends.Backend("grpc") as backend:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "DIFY_OTEL_"))}
        done = subprocess.run(
            [*shell, sys.executable, "-B", str(PROGRAM), "threads", "0.3"],
            env={
                **kept,
                "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("bootstrap", "instrumentors")),
                "OTEL_EXPORTER_OTLP_ENDPOINT": backend.endpoint,
                "OTEL_TRACES_SAMPLER_ARG": "x",
                "DIFY_OTEL_INFRA_SPANS": "not a word",
                "DIFY_OTEL_STATUS_DIR": place,
                "DISK": place,
                "HOME": place,
                "TMPDIR": place,
            },
            stdout=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0
    assert backend.spans and b'"failed": 0, "dropped": 0' in done.stdout


@pytest.mark.parametrize("how", ["2>/dev/full", "2>&-", ""])
def test_a_broken_bundle_with_nowhere_to_say_so(how: str, tmp_path: Path) -> None:
    inject = tmp_path / "dify_otel" / "inject"
    inject.mkdir(parents=True)
    source = ROOT / "bootstrap" / "dify_otel" / "inject" / "sitecustomize.py"
    (inject / "sitecustomize.py").write_text(source.read_text())
    (tmp_path / "dify_otel" / "__init__.py").write_text("raise OSError(28, 'No space left on device')")
    done = subprocess.run(
        ["sh", "-c", f'"$@" {how}', "sh", sys.executable, "-c", "print('of Dify')"],
        env={**os.environ, "PYTHONPATH": str(inject)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "of Dify\n")
    assert "Traceback" not in done.stderr
