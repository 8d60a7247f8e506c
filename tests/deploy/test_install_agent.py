"""The scripts that run inside containers, run here for real: the agent's installer and squid's entrypoint.

Separate from test_compose because these are programs with effects, not files to merge.
"""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest

COMPOSE_DIR = Path(__file__).parents[2] / "deploy" / "compose"


def wheel(directory: Path, text: str, version: str = "0.1.0") -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / f"dify_otel-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("dify_otel/__init__.py", "")
        out.writestr("dify_otel/inject/sitecustomize.py", text)
        out.writestr("dify_otel_instrumentors/__init__.py", "")
        out.writestr(
            f"dify_otel-{version}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: dify-otel\nVersion: {version}\n"
        )
        out.writestr(
            f"dify_otel-{version}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        out.writestr(f"dify_otel-{version}.dist-info/RECORD", "")
    return path


def install(clean_env: dict[str, str], target: Path, **env: str) -> str:
    done = subprocess.run(
        ["sh", COMPOSE_DIR / "install-agent.sh"],
        env={**clean_env, "DIFY_OTEL_TARGET": str(target), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", **env},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, "Dify's services wait for this to succeed"
    return done.stdout


def sitecustomize(target: Path) -> str:
    return (target / "dify_otel" / "inject" / "sitecustomize.py").read_text()


def test_from_a_wheel_once(tmp_path: Path, clean_env: dict[str, str]) -> None:
    target = tmp_path / "out"
    target.mkdir()
    wheel(tmp_path / "wheels", "first = 1\n")
    said = install(clean_env, target, DIFY_OTEL_WHEELS=str(tmp_path / "wheels"))
    assert "installed" in said
    assert sitecustomize(target) == "first = 1\n"
    assert (target / "dify_otel_instrumentors" / "__init__.py").exists()
    assert (target / "dify_otel" / "inject" / "sitecustomize.py").stat().st_mode & 0o044 == 0o044
    said = install(clean_env, target, DIFY_OTEL_WHEELS=str(tmp_path / "wheels"))
    assert "already installed" in said


def test_a_new_wheel_replaces_the_old_one_whole(tmp_path: Path, clean_env: dict[str, str]) -> None:
    target = tmp_path / "out"
    target.mkdir()
    wheel(tmp_path / "wheels", "first = 1\n")
    install(clean_env, target, DIFY_OTEL_WHEELS=str(tmp_path / "wheels"))
    (target / "dify_otel" / "gone.py").touch()
    # Same name, other content: a wheel built again.
    wheel(tmp_path / "wheels", "second = 2\n")
    install(clean_env, target, DIFY_OTEL_WHEELS=str(tmp_path / "wheels"))
    assert sitecustomize(target) == "second = 2\n"
    assert not (target / "dify_otel" / "gone.py").exists()
    assert not (target / ".new").exists() and not (target / ".old").exists()


def test_from_an_index(tmp_path: Path, clean_env: dict[str, str]) -> None:
    target = tmp_path / "out"
    target.mkdir()
    wheel(tmp_path / "index", "indexed = 1\n")
    env = {"DIFY_OTEL_WHEELS": "/nowhere", "PIP_FIND_LINKS": str(tmp_path / "index")}
    install(clean_env, target, DIFY_OTEL_PACKAGE="dify-otel==0.1.0", **env)
    assert sitecustomize(target) == "indexed = 1\n"


@pytest.mark.parametrize("before", [True, False])
def test_failing_leaves_what_was_there_and_ends_well(tmp_path: Path, clean_env: dict[str, str], before: bool) -> None:
    target = tmp_path / "out"
    target.mkdir()
    if before:
        wheel(tmp_path / "wheels", "kept = 1\n")
        install(clean_env, target, DIFY_OTEL_WHEELS=str(tmp_path / "wheels"))
    said = install(clean_env, target, DIFY_OTEL_WHEELS="/nowhere", DIFY_OTEL_PACKAGE="dify-otel==99.9")
    assert "COULD NOT INSTALL" in said
    assert not before or sitecustomize(target) == "kept = 1\n"
    assert not (target / ".new").exists()


def test_squid_logs_the_trace_below_difys_own_settings(tmp_path: Path) -> None:
    """In a copy whose fixed container paths are moved below tmp_path."""
    script = (COMPOSE_DIR / "squid-entrypoint.sh").read_text()
    conf = COMPOSE_DIR / "squid-trace-log.conf"
    moved = script.replace("/opt/dify-otel/squid-trace-log.conf", str(conf)).replace("/etc/squid/", f"{tmp_path}/")
    (tmp_path / "entrypoint.sh").write_text(moved)
    difys = tmp_path / "difys.sh"
    difys.write_text(
        f"#!/bin/bash\r\necho 'http_access deny all' > {tmp_path}/squid.conf\r\n"
        f"/usr/sbin/squid -Nz || true\r\ncp {tmp_path}/squid.conf {tmp_path}/started\r\n"
    )
    env = {
        "PATH": "/usr/bin:/bin",
        "DIFY_OTEL_SQUID_ENTRYPOINT": str(difys),
        "DIFY_OTEL_SQUID_COPY": str(tmp_path / "copy.sh"),
    }
    done = subprocess.run(
        ["sh", tmp_path / "entrypoint.sh"], env=env, check=False, capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 0, done.stderr
    started = (tmp_path / "started").read_text()
    assert started.startswith("http_access deny all\n")
    assert conf.read_text() in started
    assert "logformat dify_otel" in started and "%{traceparent}>h" in started and "%ru" not in started
