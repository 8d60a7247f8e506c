"""A program like Dify's in a folder, and Python processes started in it as a container would start them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
INJECT = ROOT / "bootstrap" / "dify_otel" / "inject"


def environment(**more: str) -> dict[str, str]:
    """The environment of a container with the agent on PYTHONPATH; `None` takes a name out."""
    base = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": str(INJECT)}
    base["PYTHONPYCACHEPREFIX"] = os.path.join(tempfile.gettempdir(), f"dify-otel-tests-{os.geteuid()}", "pycache")
    base.update(OTEL_TRACES_EXPORTER="console", OTEL_METRICS_EXPORTER="none")
    base.update(more)
    return {k: v for k, v in base.items() if v != "-"}


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`run("-c", "…", NAME="value")`: this suite's interpreter in a folder of its own."""

    def start(*arguments: str, python: str = sys.executable, check: bool = True, **more: str) -> Any:
        done = subprocess.run(  # noqa: PLW1510
            [python, *arguments], cwd=tmp_path, env=environment(**more), capture_output=True, text=True, timeout=60
        )
        if check:
            assert done.returncode == 0, done.stderr
        return done

    return start


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    def put(name: str, source: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))
        return path

    return put


REPORT = """
import json, os, sys
def loaded():
    return sorted(sys.modules)
def say(**facts):
    print("FACTS " + json.dumps(facts), flush=True)
"""


def facts(output: str) -> list[dict[str, Any]]:
    """What the program said by `say`."""
    return [json.loads(line.split("FACTS ", 1)[1]) for line in output.splitlines() if "FACTS " in line]


@pytest.fixture
def dify(write: Any) -> None:
    """Dify's shape: `app.py` makes the application through `app_factory`, whose extensions come last."""
    write("said.py", REPORT)
    write(
        "app_factory.py",
        """
        import sys
        EARLY = sorted(sys.modules)
        import flask

        def create_app():
            app = flask.Flask("dify")

            @app.get("/")
            def index():
                from dify_otel import start
                import os
                sdk = start.State.sdk
                return {"pid": os.getpid(), "sdk": sdk is not None and sdk.pid == os.getpid(), "role": start.State.role,
                        "door": start.State.door}

            @app.get("/health")
            def health():
                return "ok"

            initialize_extensions(app)
            return app

        def initialize_extensions(app):
            app.extensions["ready"] = True
        """,
    )
    write("app.py", "from app_factory import create_app\napp = create_app()\n")
