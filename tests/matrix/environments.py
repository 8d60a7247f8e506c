"""Environments of the matrix: Python × OpenTelemetry × wrapt, stacked from cached layers.

Installing thirty environments whole would take the better part of an hour. Everything of OpenTelemetry's is pure
Python, so a cell is an empty virtual environment that points at three layers: what the suites need (one a Python),
OpenTelemetry (one a version, for every Python) and wrapt (one a version and Python). Layers are made once, below
`DIFY_OTEL_CACHE`; a stamp of their contents decides whether they are made anew.
"""

from __future__ import annotations

import fcntl
import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distributions
from itertools import combinations, product
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("DIFY_OTEL_CACHE") or Path.home() / ".cache" / "dify-otel")
NEWEST = "newest"
SECONDS = 600
FRESH_SECONDS = 7 * 24 * 3600.0
"""How long a layer that is called newest may be taken for it."""

PYTHONS = ("3.11", "3.12", "3.13")
TELEMETRY = {"1.27.0": "0.48b0", "1.28.0": "0.49b0", "1.41.1": "0.62b1", "1.44.0": "0.65b0", NEWEST: ""}
"""What Dify's releases pin (1.44 from 1.17 on), the instrumentations that go with it; and the newest there is."""
PROTOBUF = {
    "1.27.0": ("protobuf==4.25.8", "googleapis-common-protos==1.63.2"),
    "1.28.0": ("protobuf==5.29.6", "googleapis-common-protos==1.66.0"),
    "1.41.1": ("protobuf==5.29.6", "googleapis-common-protos==1.66.0"),
    "1.44.0": ("protobuf==5.29.6", "googleapis-common-protos==1.66.0"),
    NEWEST: ("protobuf>=5,<8", "googleapis-common-protos<2"),
}
"""What of Google's goes with it: pip would work that out, but would bring wrapt and grpcio into the layer too."""
WRAPT = ("1.16.0", "1.17.3", NEWEST)
"""Pinned from Dify 1.11.3 on, pinned by Dify 1.9.0 to 1.11.2, and the newest (2.x), where OpenTelemetry allows it."""

_CORE = (
    *("api", "sdk", "proto", "exporter-otlp-proto-common", "exporter-otlp-proto-grpc", "exporter-otlp-proto-http"),
    "exporter-otlp",
)
_CONTRIB = (
    *("semantic-conventions", "util-http", "distro", "instrumentation"),
    *("instrumentation-wsgi", "instrumentation-flask", "instrumentation-celery"),
    *("instrumentation-sqlalchemy", "instrumentation-redis", "instrumentation-httpx"),
)
_BESIDE = ("deprecated", "importlib-metadata<=8.4.0", "zipp", "typing-extensions")
_PINNED = ("celery", "flask", "grpcio", "httpx", "pydantic", "redis", "setuptools", "sqlalchemy", "werkzeug")
_TOOLS = ("pytest", "hypothesis", "jsonschema")


@dataclass(frozen=True)
class Cell:
    """One combination; `python` as `3.12`, the others a version or `newest`."""

    python: str
    telemetry: str
    wrapt: str

    def __str__(self) -> str:
        return f"py{self.python}-otel{self.telemetry}-wrapt{self.wrapt}"


def cells() -> list[Cell]:
    """Every combination that pip would allow: the instrumentations took wrapt 2 with 0.60b0."""
    return [
        Cell(python, telemetry, wrapt)
        for python, telemetry, wrapt in product(PYTHONS, TELEMETRY, WRAPT)
        if wrapt != NEWEST or telemetry not in ("1.27.0", "1.28.0")
    ]


def covering(every: list[Cell], together: int) -> list[Cell]:
    """Few of them, in which every version (1) or pair of versions (2) that occurs at all still does. Deterministic."""

    def parts(cell: Cell) -> set[tuple[tuple[str, str], ...]]:
        return set(combinations((("p", cell.python), ("t", cell.telemetry), ("w", cell.wrapt)), together))

    missing = set().union(*(parts(c) for c in every)) if every else set()
    chosen: list[Cell] = []
    while missing:
        # Of equals the one whose versions occur least so far, the newest first.
        worn = Counter(v for c in chosen for v in (("p", c.python), ("w", c.wrapt)))
        best = max(reversed(every), key=lambda c: (len(parts(c) & missing), -worn["p", c.python] - worn["w", c.wrapt]))
        chosen.append(best)
        missing -= parts(best)
    return chosen


@cache
def interpreter(version: str) -> str | None:
    """A Python of that version which can make virtual environments, or None."""
    versions = os.environ.get("PYENV_ROOT") or str(Path.home() / ".pyenv")
    candidates = [
        *([sys.executable] if sys.version_info[:2] == tuple(map(int, version.split("."))) else []),
        shutil.which(f"python{version}"),
        *sorted(glob.glob(f"{versions}/versions/{version}.*/bin/python{version}"), reverse=True),
        *(f"{folder}/python{version}" for folder in ("/usr/bin", "/usr/local/bin")),
        *glob.glob(f"/opt/*/bin/python{version}"),
    ]
    ask = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    for candidate in candidates:
        if not candidate or not Path(candidate).exists():
            continue
        # A version manager's shim exists without the version behind it: ask, do not trust.
        done = subprocess.run([candidate, "-c", ask], capture_output=True, text=True, check=False, timeout=60)
        if done.returncode == 0 and done.stdout.strip() == version:
            return candidate
    return None


def environment(cell: Cell, gevent: str = "") -> Path:
    """The interpreter of a cell; made, with what it stands on, when it is not there yet.

    `gevent` puts that version of gevent into it. Raises `AssertionError` with pip's words when something cannot be had.
    """
    name = f"{cell}-gevent{gevent}" if gevent else str(cell)
    with _locked():
        base = _base(cell.python)
        layers = [_telemetry(cell.telemetry), _wrapt(cell.wrapt, cell.python)]
        if gevent:
            layers.insert(0, _layer(f"gevent-{gevent}-{cell.python}", _wanted("gevent", gevent), _pip(cell.python)))
        paths = [*map(str, layers), str(next(base.glob("lib/python*/site-packages")))]
        return _venv(f"cell-{name}", cell.python, ("layers.pth", paths))


def _wanted(name: str, version: str) -> list[str]:
    return [name if version == NEWEST else f"{name}=={version}"]


def _base(python: str) -> Path:
    lines = "\n".join((ROOT / "tests" / f).read_text() for f in ("standin/requirements.txt", "requirements.txt"))
    wanted = [
        line.strip() for line in lines.splitlines() if re.split(r"[=<>\[]", line.strip())[0] in (*_PINNED, *_TOOLS)
    ]
    # What OpenTelemetry's own packages want besides; they themselves come without dependencies.
    return _made(
        f"base-{python}",
        [*wanted, "requests", "asgiref", "packaging", "typing-extensions"],
        lambda home: _fill_base(home, python, [*wanted, "requests", "asgiref", "packaging", "typing-extensions"]),
    )


def _fill_base(home: Path, python: str, wanted: list[str]) -> None:
    _run([interpreter(python) or "", "-m", "venv", str(home)])
    _run([*_installs(home), *wanted])


def _telemetry(version: str) -> Path:
    contrib = TELEMETRY[version]
    wanted = [f"opentelemetry-{n}{f'=={version}' if contrib else ''}" for n in _CORE]
    wanted += [f"opentelemetry-{n}{f'=={contrib}' if contrib else ''}" for n in _CONTRIB]
    wanted += [*_BESIDE, *PROTOBUF[version]]
    return _made(f"otel-{version}", wanted, lambda home: _fill_telemetry(home, wanted))


def _fill_telemetry(home: Path, wanted: list[str]) -> None:
    """`wanted`, and the packages of OpenTelemetry's that those need: newer releases are cut into more of them."""
    missing = wanted
    while missing:
        # Into an empty folder: pip leaves out what a target already has the first folder of.
        shutil.rmtree(home, ignore_errors=True)
        _run([*_pip(_some_python()), "--no-deps", "--target", str(home), *wanted])
        there = {_key(d.metadata["Name"]): d.requires or [] for d in distributions(path=[str(home)])}
        needed = [r.partition(";")[0] for requires in there.values() for r in requires if "extra ==" not in r]
        missing = [r for r in needed if _key(r).startswith("opentelemetry-") and _key(r) not in there]
        wanted = [*wanted, *{re.sub(r"\[.*?\]", "", r).strip() for r in missing}]


def _key(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement.strip())[0].lower().replace("_", "-")


def _wrapt(version: str, python: str) -> Path:
    return _layer(f"wrapt-{version}-{python}", _wanted("wrapt", version), _pip(python), "--no-deps")


def _some_python() -> str:
    return next(p for p in PYTHONS if interpreter(p))


def _pip(python: str) -> list[str]:
    return _installs(_base(python))


def _installs(home: Path) -> list[str]:
    return [str(home / "bin" / "python"), "-m", "pip", "install", "-q", "--no-compile", "--disable-pip-version-check"]


def _layer(name: str, wanted: list[str], pip: list[str], *options: str) -> Path:
    return _made(name, wanted, lambda home: _run([*pip, *options, "--target", str(home), *wanted]))


def _venv(name: str, python: str, pth: tuple[str, list[str]]) -> Path:
    def fill(home: Path) -> None:
        _run([interpreter(python) or "", "-m", "venv", "--without-pip", str(home)])
        site = next(home.glob("lib/python*/site-packages"))
        (site / pth[0]).write_text("\n".join(pth[1]) + "\n")

    return _made(name, pth[1], fill) / "bin" / "python"


def _made(name: str, contents: list[str], fill: Callable[[Path], object]) -> Path:
    home = CACHE / f"matrix-{name}"
    stamp = hashlib.sha256("\n".join(contents).encode()).hexdigest()[:16]
    mark = home / ".made"
    old = mark.exists() and mark.read_text() == stamp
    if old and not (NEWEST in name and not name.startswith("cell-") and _stale(mark)):
        return home
    fresh = CACHE / f"matrix-{name}.new"
    target = fresh if old else home
    shutil.rmtree(target, ignore_errors=True)
    try:
        fill(target)
    except AssertionError:
        shutil.rmtree(target, ignore_errors=True)
        if not old:  # what was the newest a week ago is better than nothing, for a while
            raise
        return home
    (target / ".made").write_text(stamp)
    if old:
        shutil.rmtree(home)
        target.rename(home)
    return home


def _stale(mark: Path) -> bool:
    return time.time() - mark.stat().st_mtime > FRESH_SECONDS


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-1000:]}{done.stderr[-2000:]}"


@contextmanager
def _locked() -> Iterator[None]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "matrix.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
