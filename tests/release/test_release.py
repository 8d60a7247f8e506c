"""What a release consists of is reproducible, fits where it must, and its zip is a working door."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path

from tests.release import build


def _digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def _copy(to: Path, year: int) -> Path:
    """The checkout as somebody else has it: in another folder, with other times, built before or not."""
    away = shutil.ignore_patterns("__pycache__", ".*_cache", ".git", ".hypothesis", "dist", "build")
    shutil.copytree(build.ROOT, to, ignore=away)
    then = datetime(year, 5, 4, tzinfo=UTC).timestamp()
    for path in to.rglob("*"):
        os.utime(path, (then, then))
    return to


def test_two_people_build_the_same_bytes(tmp_path: Path) -> None:
    one = _copy(tmp_path / "one", 2021)
    other = shutil.copytree(one, tmp_path / "elsewhere" / "other")
    for path in other.rglob("*"):
        os.utime(path, (1.7e9, 1.7e9))
    build.main(tmp_path / "a", one)
    build.main(tmp_path / "b", other)
    first = _digests(tmp_path / "a")
    assert first == _digests(tmp_path / "b")
    assert {name.rsplit(".", 1)[-1] for name in first} == {"whl", "gz", "zip"}


def test_the_wheel_holds_both_packages_and_the_entry_points(tmp_path: Path) -> None:
    build.main(tmp_path)
    wheel = next(tmp_path.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        points = archive.read(next(n for n in names if n.endswith("entry_points.txt"))).decode()
    assert "dify_otel/inject/sitecustomize.py" in names
    assert "dify_otel_instrumentors/seams.py" in names
    assert not [n for n in names if n.startswith(("tests/", "deploy/"))]
    for line in (
        "dify = dify_otel.distro:DifyDistro",
        "dify = dify_otel.distro:DifyConfigurator",
        "dify_otel.cli:main",
    ):
        assert line in points


def test_the_zip_fits_a_configmap(tmp_path: Path) -> None:
    assert build.injection_zip(tmp_path).stat().st_size < 1_048_576 == build.ZIP_MAX


def test_the_zip_arms_a_gunicorn_and_leaves_other_programs_alone(tmp_path: Path) -> None:
    archive = build.injection_zip(tmp_path)
    for program, armed in (("gunicorn", "True"), ("something", "False")):
        script = tmp_path / program
        script.write_text(
            "import sys\n"
            "from importlib import import_module\n"
            "found = 'dify_otel.start' in sys.modules and import_module('dify_otel.start').State.armed_in is not None\n"
            "print(found)\n"
        )
        done = subprocess.run(
            [sys.executable, str(script)],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(archive)},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert done.stdout.strip() == armed, done.stderr
