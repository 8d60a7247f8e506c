"""The doctor from the command line to its exit code: 0, 1 and 2 with a real backend, and real processes running."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .test_backend import grpc_server, http_server
from .test_examination import ROOT

GRPC, HTTP = "grpc", "http/protobuf"


def run(dify: Path, environ: dict[str, str], *arguments: str) -> tuple[int, dict[str, Any]]:
    paths = [environ["PYTHONPATH"], str(ROOT / "bootstrap"), str(ROOT / "instrumentors")]
    ran = subprocess.run(
        [sys.executable, "-m", "dify_otel.cli", "doctor", "--json", "--python", sys.executable, *arguments],
        env=environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=dify,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    said: dict[str, Any] = json.loads(ran.stdout)
    assert said["exit_code"] == ran.returncode
    return ran.returncode, said


@pytest.mark.parametrize("protocol", [GRPC, HTTP])
def test_exit_codes(tree: Any, environ: dict[str, str], protocol: str, free_port: int) -> None:
    if protocol == GRPC:
        pytest.importorskip("grpc", reason="grpcio is not installed")
    given = environ | {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
    with grpc_server() if protocol == GRPC else http_server() as (port, seen):
        given["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{port}"
        code, said = run(tree("D"), given)
        assert (code, said["status"], said["backend"]["state"]) == (0, "ok", "reached"), said["problems"]
        code, said = run(tree("B", without=("CodeExecutor",)), given)
        assert (code, said["status"]) == (1, "degraded")
        assert len(seen) == 2, "one request each time"
    given["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{free_port}"
    code, said = run(tree("D"), given)
    assert (code, said["status"], said["backend"]["reason"]) == (2, "broken", "refused")


@contextmanager
def running(api: Path, environ: dict[str, str]) -> Iterator[int]:
    """A process that looks like Dify's API started for debugging, in that tree."""
    (api / "app.py").write_text("import time\ntime.sleep(120)\n")
    process = subprocess.Popen([sys.executable, "-m", "app"], cwd=api, env=environ)
    try:
        until = time.monotonic() + 20
        while b"app\0" not in Path(f"/proc/{process.pid}/cmdline").read_bytes():
            assert time.monotonic() < until
            time.sleep(0.01)
        yield process.pid
    finally:
        process.kill()
        process.wait()


def test_a_running_process_is_found_and_its_environment_holds(tree: Any, environ: dict[str, str]) -> None:
    dify = tree("D")
    with running(dify / "api", environ | {"DIFY_OTEL_INFRA_SPANS": "all"}) as pid:
        _, said = run(dify, environ | {"DIFY_OTEL_INFRA_SPANS": "off"}, "--no-network")
    assert said["role"] == {"role": "api", "found_by": "running processes"}
    assert said["settings_from"] == f"environment of api, pid {pid}"
    chosen = {s["name"]: (s["value"], s["source"]) for s in said["settings"]}
    assert chosen["DIFY_OTEL_INFRA_SPANS"] == ("all", "environment")
    assert [(p["pid"], p["instrumented"]) for p in said["processes"]] == [(pid, True)]


def test_a_process_that_takes_no_part_is_named(tree: Any, environ: dict[str, str]) -> None:
    dify = tree("D")
    bare = {k: v for k, v in environ.items() if k != "PYTHONPATH"}
    with running(dify / "api", environ), running(dify / "api", bare) as without:
        code, said = run(dify, environ, "--no-network")
    assert code == 1
    assert [p["text"] for p in said["problems"] if p["about"] == "role"] == [
        f"started without dify-otel: api (pid {without})"
    ]
