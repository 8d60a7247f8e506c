"""The command as a person runs it: a process, real exporters, exit codes, colours, files."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from pathlib import Path

import dify_otel.tail
import pytest
from dify_otel.tail.command import duration, wanted
from dify_otel.tail.receiver import Receiver
from dify_otel.tail.span import Span
from dify_otel.tail.tree import build
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

from .sample import request, span
from .sending import send

SOURCE = Path(dify_otel.tail.__file__).parents[2]
SECONDS = 30.0


class Running:
    """A `dify-otel tail` on free ports with both its outputs in files."""

    def __init__(self, directory: Path, *arguments: str, environment: dict[str, str] | None = None) -> None:
        self.ports = directory / "ports.json"
        self.out = directory / "out"
        self.errors = directory / "errors"
        clean = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
        with self.out.open("wb") as out, self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dify_otel.tail", "--grpc-port=0", "--http-port=0", f"--port-file={self.ports}",
                 "--idle=0.2", *arguments],
                stdout=out,
                stderr=errors,
                env={**clean, "PYTHONPATH": str(SOURCE), "TZ": "UTC", **(environment or {})},
            )  # fmt: skip

    def port(self) -> int:
        deadline = time.monotonic() + SECONDS
        while not self.ports.exists():
            assert self.process.poll() is None, self.errors.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        found: int = json.loads(self.ports.read_text())["grpc"]
        return found

    def send(self, *traces: list[Span]) -> None:
        exporter = OTLPSpanExporter(endpoint=f"http://127.0.0.1:{self.port()}", insecure=True)
        for spans in traces:
            send(exporter, spans)
        exporter.shutdown()

    def status(self) -> int:
        return self.process.wait(SECONDS)

    def shown(self, words: str) -> str:
        """stdout, as soon as it holds these words."""
        deadline = time.monotonic() + SECONDS
        while words not in (text := self.out.read_text("utf-8")):
            assert time.monotonic() < deadline, (text, self.errors.read_text())
            time.sleep(0.02)
        return text


@contextlib.contextmanager
def tail(directory: Path, *arguments: str, environment: dict[str, str] | None = None) -> Iterator[Running]:
    running = Running(directory, *arguments, environment=environment)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait(SECONDS)


def small(app: str, number: int, length_ms: float = 10, **more: object) -> list[Span]:
    attributes = {"dify.app.name": app, "dify.app_id": f"id-{number}"}
    return [span(1, 0, f"POST /{number}", 0, length_ms, attributes, trace_id=f"{number:032x}", **more)]


def plain(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dify_otel.tail", *arguments],
        capture_output=True, text=True, timeout=SECONDS, check=False,
        env={**os.environ, "PYTHONPATH": str(SOURCE), **(environment or {})},
    )  # fmt: skip


def test_one_request_as_a_tree(tmp_path: Path) -> None:
    with tail(tmp_path, "--once=1", "--width=112") as running:
        running.send(request())
        assert running.status() == 0
        picture = (Path(__file__).parent / "request.txt").read_text("utf-8")
        assert running.out.read_text("utf-8") == picture


def test_batches_of_one_trace_are_one_tree(tmp_path: Path) -> None:
    spans = request()
    with tail(tmp_path, "--once=1", "--json", "--idle=1") as running:
        running.send(spans[5:], spans[:5])
        assert running.status() == 0
        (shown,) = map(json.loads, running.out.read_text("utf-8").splitlines())
    assert len(shown["spans"]) == len(spans)
    assert shown["complete"]


def test_json_is_for_scripts(tmp_path: Path) -> None:
    with tail(tmp_path, "--once=1", "--json") as running:
        running.send(request())
        assert running.status() == 0
        shown = json.loads(running.out.read_text("utf-8"))
    assert shown["app"] == {"name": "Support triage", "id": "5f0c2a1e-8c0b-4a53-9d0e-0b6c3f6b7a10", "mode": "workflow"}
    assert shown["duration"] == pytest.approx(3.42)
    assert shown["tokens"] == {"input": 1923, "output": 202, "total": 2125}
    assert shown["time_to_first_chunk"] == 1.93
    assert list(shown["cost"]) == ["USD"]
    assert shown["errors"][0]["type"] == "CodeExecutionError"
    assert shown["spans"][0]["parent_id"] is None
    assert shown["spans"][1]["attributes"]["dify.app.mode"] == "workflow"


def test_late_spans_come_again_and_do_not_count_twice(tmp_path: Path) -> None:
    spans = request()
    with tail(tmp_path, "--once=2", "--json") as running:
        running.send(spans[:3])
        running.shown('"again": false')
        running.send(spans[3:])
        running.shown('"again": true')
        running.send(small("another", 2))
        assert running.status() == 0
        shown = [json.loads(line) for line in running.out.read_text("utf-8").splitlines()]
    assert [(one["again"], len(one["spans"])) for one in shown] == [(False, 3), (True, len(spans)), (False, 1)]


def test_filters(tmp_path: Path) -> None:
    with tail(tmp_path, "--once=1", "--json", "--app=SUPPORT*", "--errors", "--slow=20ms") as running:
        failed = {"status": "ERROR"}
        running.send(
            small("Support", 1, 30),
            small("Support", 2, 10, **failed),
            small("Other", 3, 30, **failed),
            small("Support", 4, 30, **failed),
        )
        assert running.status() == 0
        assert [json.loads(line)["name"] for line in running.out.read_text().splitlines()] == ["POST /4"]


def test_what_the_filters_let_through() -> None:
    trace = build(request(failing=False))
    assert wanted(trace, [], False, 3.42)
    assert not wanted(trace, [], False, 3.43)
    assert not wanted(trace, [], True, 0)
    assert wanted(trace, ["nothing", "support triage"], False, 0)
    assert wanted(trace, ["5f0c2a1e-*"], False, 0)
    assert not wanted(trace, ["support"], False, 0)


@pytest.mark.parametrize(("words", "seconds"), [("5s", 5), ("800ms", 0.8), ("2m", 120), ("1.5", 1.5), (" 3 S ", 3)])
def test_times(words: str, seconds: float) -> None:
    assert duration(words) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("arguments", "environment", "coloured"),
    [
        ([], {}, False),
        (["--color=always"], {}, True),
        ([], {"FORCE_COLOR": "1"}, True),
        ([], {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        (["--color=always"], {"NO_COLOR": "1"}, True),
    ],
)
def test_colours(tmp_path: Path, arguments: list[str], environment: dict[str, str], coloured: bool) -> None:
    with tail(tmp_path, "--once=1", *arguments, environment=environment) as running:
        running.send(small("a", 1))
        assert running.status() == 0
        assert ("\x1b[" in running.out.read_text("utf-8")) is coloured


def test_pages_are_saved(tmp_path: Path) -> None:
    with tail(tmp_path, "--once=2", f"--html={tmp_path}/pages/") as running:
        running.send(request(), small("客服", 2))
        assert running.status() == 0
        assert running.errors.read_text("utf-8").count("saved ") == 2
    saved = sorted(path.name for path in (tmp_path / "pages").iterdir())
    assert len(saved) == 3
    assert saved[-1] == "index.html"


def test_follows_until_interrupted_and_shows_what_it_has(tmp_path: Path) -> None:
    with tail(tmp_path, "--idle=60") as running:
        running.send(small("unfinished", 1))
        running.process.send_signal(signal.SIGINT)
        assert running.status() == 0
        assert "unfinished" in running.out.read_text("utf-8")


def test_sigterm_ends_in_order(tmp_path: Path) -> None:
    with tail(tmp_path, "--idle=60") as running:
        running.send(small("unfinished", 1))
        running.process.terminate()
        assert running.status() == 0
        assert "unfinished" in running.out.read_text("utf-8")


def test_interrupted_before_once_is_reached(tmp_path: Path) -> None:
    with tail(tmp_path, "--once=1") as running:
        running.port()
        running.process.send_signal(signal.SIGINT)
        assert running.status() == 130


def test_timeout_is_its_own_status(tmp_path: Path) -> None:
    with tail(tmp_path, "--once=1", "--timeout=0.3") as running:
        assert running.status() == 3
        assert running.out.read_text() == ""


def test_a_closed_pipe_is_a_normal_end(tmp_path: Path) -> None:
    ports = tmp_path / "ports.json"
    free = ["--grpc-port=0", "--http-port=0", f"--port-file={ports}", "--idle=0.1"]
    with subprocess.Popen(
        [sys.executable, "-m", "dify_otel.tail", *free],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    ) as process:
        assert process.stdout
        assert process.stderr
        try:
            while not ports.exists():
                assert process.poll() is None
                time.sleep(0.02)
            process.stdout.close()
            exporter = OTLPSpanExporter(
                endpoint=f"http://127.0.0.1:{json.loads(ports.read_text())['grpc']}", insecure=True
            )
            send(exporter, small("a", 1))
            exporter.shutdown()
            assert process.wait(SECONDS) == 0
            assert b"Traceback" not in process.stderr.read()
        finally:
            process.kill()


def test_a_taken_port_says_what_to_do() -> None:
    with Receiver() as other:
        ended = plain(f"--grpc-port={other.grpc_port}", "--http-port=0")
    assert ended.returncode == 1
    assert f"127.0.0.1:{other.grpc_port} (gRPC) is taken" in ended.stderr
    assert "--grpc-port" in ended.stderr
    assert len(ended.stderr.splitlines()) <= 5


def test_a_place_that_cannot_be_written_fails_before_listening(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = plain("--grpc-port=0", "--http-port=0", f"--html={tmp_path}/file/page.html")
    assert ended.returncode == 1
    assert "file" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "arguments", [["--slow=soon"], ["--once=0"], ["--grpc-port=99999"], ["--width=3"], ["--ui=none"], ["--colour"]]
)
def test_wrong_use_is_status_2(arguments: list[str]) -> None:
    ended = plain(*arguments)
    assert ended.returncode == 2
    assert "dify-otel tail: error:" in ended.stderr


def test_help_teaches() -> None:
    ended = plain("--help")
    assert ended.returncode == 0
    for word in ("OTEL_EXPORTER_OTLP_ENDPOINT", "host.docker.internal", "--errors", "exit status", "examples"):
        assert word in ended.stdout


def test_without_the_extra_it_says_how_to_get_it(tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    bare = tmp_path / "bare" / "bin" / "python"
    environment = {"PYTHONPATH": str(SOURCE), "PATH": os.environ["PATH"]}
    for arguments, status in (([], 2), (["--help"], 0)):
        ended = subprocess.run(
            [bare, "-m", "dify_otel.tail", *arguments],
            capture_output=True, text=True, timeout=SECONDS, env=environment, check=False,
        )  # fmt: skip
        assert ended.returncode == status
        assert "Traceback" not in ended.stderr
        if status:
            assert f"{bare} -m pip install rich grpcio opentelemetry-proto" in ended.stderr


@pytest.mark.parametrize(("name", "advice"), [("phoenix", "pip install arize-phoenix"), ("jaeger", "jaegertracing.io")])
def test_a_ui_that_is_not_here_says_what_to_type(tmp_path: Path, name: str, advice: str) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    ended = subprocess.run(
        [tmp_path / "bare" / "bin" / "python", "-m", "dify_otel.tail", f"--ui={name}"],
        capture_output=True, text=True, timeout=SECONDS, check=False,
        env={"PYTHONPATH": os.pathsep.join([str(SOURCE), *libraries]), "PATH": str(tmp_path)},
    )  # fmt: skip
    assert ended.returncode == 2
    assert advice in ended.stderr
