"""Real tools for the deploy tests: where each comes from, and a reason when one is not there.

Separate from the tests so that every skip of this directory has one place where its reason is made. Nothing here
builds: `tests/deploy/tools.sh NAME` does, once, into a cache.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DEPLOY = HERE.parent.parent / "deploy"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "collector: needs the collector that tests/deploy/tools.sh collector builds")


def cached_tool(name: str) -> Path | None:
    found = subprocess.run(
        [HERE / "tools.sh", "--cached", name], check=False, capture_output=True, text=True, timeout=30
    )
    return Path(found.stdout.strip()) if found.returncode == 0 else None


@pytest.fixture(scope="session")
def compose() -> Path:
    """A Compose 2.20 or later; fetched here, as it is one small Debian package."""
    found = subprocess.run([HERE / "tools.sh", "compose"], check=False, capture_output=True, text=True, timeout=300)
    if found.returncode:
        pytest.skip(f"no Compose: {found.stderr.strip().splitlines()[-1:]}")
    return Path(found.stdout.strip())


@pytest.fixture(scope="session")
def nginx() -> Path:
    found = subprocess.run([HERE / "tools.sh", "nginx"], check=False, capture_output=True, text=True, timeout=300)
    if found.returncode:
        pytest.skip(f"no nginx: {found.stderr.strip().splitlines()[-1:]}")
    return Path(found.stdout.strip())


@pytest.fixture(scope="session")
def otelcol() -> Path:
    binary = cached_tool("collector")
    if binary is None:
        pytest.skip("collector not built: run tests/deploy/tools.sh collector (about ten minutes, once)")
    return binary


@pytest.fixture(scope="session")
def kustomize() -> list[str]:
    if shutil.which("kubectl"):
        return ["kubectl", "kustomize"]
    binary = cached_tool("kustomize")
    if binary is None:
        pytest.skip("neither kubectl nor kustomize here: run tests/deploy/tools.sh kustomize")
    return [str(binary), "build"]


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A port nobody listens on, on the loopback address."""

    def pick() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            return port

    return pick


@pytest.fixture
def clean_env() -> dict[str, str]:
    """The environment without settings a developer may have for Dify, OpenTelemetry or docker."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("DIFY_", "OTEL_", "DOCKER_", "COMPOSE_"))}
