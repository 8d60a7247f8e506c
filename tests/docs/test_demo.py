"""`dify-otel demo` where something is missing: it says what to do, and never ends in a traceback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import dify_otel
import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = Path(dify_otel.__file__).parents[1]


def _demo(python: Path | str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-m", "dify_otel.cli", "demo", *arguments],
        capture_output=True, text=True, timeout=120, check=False, cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE)},
    )  # fmt: skip


def test_outside_a_checkout(tmp_path: Path) -> None:
    ended = _demo(sys.executable, folder=tmp_path)
    assert ended.returncode == 2
    assert "make demo" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")
def test_in_a_python_without_its_libraries(tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    ended = _demo(tmp_path / "bare" / "bin" / "python", f"--checkout={ROOT}", folder=tmp_path)
    assert ended.returncode == 2
    assert "did not start: No module named" in ended.stderr
    assert "make demo" in ended.stderr
    assert "Traceback" not in ended.stderr
