"""What is here: Dify's tree and release, its interpreter and packages, the environment, and processes of Dify's.

Facts only, no judgement (that is `examination`). Nothing of Dify is imported: its interpreter is asked in a process of
its own, with this agent switched off there.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dify_otel import start

SECONDS = 20.0
"""Longest wait for another interpreter."""

PACKAGES = (
    "opentelemetry-api",
    "opentelemetry-sdk",
    "opentelemetry-distro",
    "opentelemetry-exporter-otlp-proto-grpc",
    "opentelemetry-exporter-otlp-proto-http",
    "opentelemetry-instrumentation",
    "opentelemetry-instrumentation-flask",
    "opentelemetry-instrumentation-celery",
    "opentelemetry-instrumentation-sqlalchemy",
    "opentelemetry-instrumentation-redis",
    "opentelemetry-instrumentation-httpx",
    "gevent",
    "grpcio",
    "graphon",
    "celery",
    "gunicorn",
    "wrapt",
    "dify-otel",
)

_ASK = """
import json, sys
from importlib import metadata
out = {}
for name in json.loads(sys.argv[1]):
    try:
        out[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        out[name] = None
print("\\n" + json.dumps({"version": list(sys.version_info[:3]), "path": sys.path, "packages": out}))
"""


@dataclass(frozen=True, slots=True)
class Dify:
    """A Dify tree: its `api` folder, and the release with how it was found."""

    api: Path | None
    release: str | None
    found_by: str


@dataclass(frozen=True, slots=True)
class Interpreter:
    """Dify's Python: version and packages, or `problem` in words when it could not be asked."""

    path: str
    version: tuple[int, ...] | None = None
    packages: Mapping[str, str | None] = field(default_factory=dict)
    search: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Process:
    """A running process of Dify's; `environment` is None where it may not be read."""

    pid: int
    role: str
    command: str
    environment: Mapping[str, str] | None


def find_dify(given: str | None) -> Dify:
    """The tree at `given`, else here or where Dify's image has it."""
    if given is not None:
        candidates = [Path(given), Path(given) / "api"]
    else:
        candidates = [Path.cwd(), Path.cwd() / "api", Path("/app/api")]
    api = next((c for c in candidates if (c / "app_factory.py").is_file()), None)
    if api is None:
        looked = ", ".join(str(c) for c in candidates)
        return Dify(None, None, f"no app_factory.py in {looked}")
    release, how = _release(api)
    return Dify(api, release, how)


def _release(api: Path) -> tuple[str | None, str]:
    try:
        project = re.search(
            r"^\[project\](.*?)(?=^\[|\Z)", (api / "pyproject.toml").read_text("utf-8"), re.MULTILINE | re.DOTALL
        )
        version = re.search(r'^version\s*=\s*"([^"]+)"', project.group(1), re.MULTILINE) if project else None
        if version:
            return version.group(1), "pyproject.toml"
    except OSError:
        pass
    try:
        source = (api / "configs" / "packaging" / "__init__.py").read_text("utf-8")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "CURRENT_VERSION":
                default = next((k.value for k in getattr(node.value, "keywords", ()) if k.arg == "default"), None)
                if isinstance(default, ast.Constant):
                    return str(default.value), "configs/packaging"
    except (OSError, SyntaxError):
        pass
    return None, "neither pyproject.toml nor configs/packaging names it"


def find_python(given: str | None, api: Path | None) -> str:
    """Dify's interpreter: the given one, the tree's own environment, else the one that runs this."""
    if given is not None:
        return given
    for folder in (api, api.parent if api is not None else None):
        for name in (".venv", "venv"):
            candidate = folder / name / "bin" / "python" if folder is not None else None
            if candidate is not None and candidate.is_file():
                return str(candidate)
    return sys.executable


def quiet(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` for a child that must run as if dify-otel and OpenTelemetry's own start were not there."""
    child = {**environ, "DIFY_OTEL_ENABLED": "false", "OTEL_SDK_DISABLED": "true", "PYTHONDONTWRITEBYTECODE": "1"}
    for name in ("OTEL_PYTHON_DISTRO", "OTEL_PYTHON_CONFIGURATOR"):
        child.pop(name, None)
    paths = [p for p in environ.get("PYTHONPATH", "").split(os.pathsep) if p and "auto_instrumentation" not in p]
    child["PYTHONPATH"] = os.pathsep.join(paths)
    return child


def ask(python: str, environ: Mapping[str, str]) -> Interpreter:
    """Version, packages and search path of an interpreter. Never raises."""
    try:
        ran = subprocess.run(
            [python, "-c", _ASK, json.dumps(PACKAGES)],
            env=quiet(environ),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        if ran.returncode != 0:
            last = (ran.stderr.strip().splitlines() or ["no message"])[-1]
            return Interpreter(python, problem=f"it ended with {ran.returncode}: {last}")
        said = json.loads(ran.stdout.strip().splitlines()[-1])
    except subprocess.TimeoutExpired:
        return Interpreter(python, problem=f"it did not answer within {SECONDS:g} s")
    except (OSError, ValueError, IndexError) as error:
        return Interpreter(python, problem=f"it cannot be run: {error}")
    return Interpreter(python, tuple(said["version"]), said["packages"], tuple(p for p in said["path"] if p))


def engine_roots(interpreter: Interpreter, api: Path | None) -> list[Path]:
    """Folders that hold the `graphon` package: of the interpreter, else of an environment beside the tree."""
    roots = [Path(p) for p in interpreter.search if (Path(p) / "graphon").is_dir()]
    if not roots and api is not None:
        found = [*api.glob(".venv/lib/python3*/site-packages"), *api.parent.glob(".venv/lib/python3*/site-packages")]
        roots = [p for p in found if (p / "graphon").is_dir()]
    return roots[:1]


def dotenv(api: Path | None) -> dict[str, str]:
    """Names and values of the tree's `.env`, which Dify's own settings read (and ours do not)."""
    values: dict[str, str] = {}
    if api is None:
        return values
    try:
        lines = (api / ".env").read_text("utf-8", "replace").splitlines()
    except OSError:
        return values
    for line in lines:
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and not name.startswith("#"):
            values[name.strip()] = value.strip().strip("'\"")
    return values


def injections(environ: Mapping[str, str]) -> list[tuple[str, bool]]:
    """Entries of PYTHONPATH that are ours, and whether each can work: a folder or archive with our sitecustomize."""
    found = []
    for entry in environ.get("PYTHONPATH", "").split(os.pathsep):
        if not entry:
            continue
        path = Path(entry)
        looks = entry.rstrip("/").endswith("dify_otel/inject") or "dify-otel" in path.name or "dify_otel" in path.name
        try:
            if path.is_file() and zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    names = set(archive.namelist())
                if "dify_otel/start.py" in names:
                    found.append((entry, "sitecustomize.py" in names))
                    continue
            file = path / "sitecustomize.py"
            if file.is_file() and "dify_otel" in file.read_text("utf-8", "replace"):
                found.append((entry, True))
                continue
        except OSError:
            pass
        if looks:
            found.append((entry, False))
    return found


def processes(proc: Path = Path("/proc")) -> list[Process]:
    """Dify's processes that can be seen from here, oldest first."""
    found: list[Process] = []
    try:
        pids = sorted(int(p.name) for p in proc.iterdir() if p.name.isdigit())
    except OSError:
        return found
    for pid in pids:
        if pid == os.getpid():
            continue
        try:
            words = (proc / str(pid) / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")[:-1]
        except OSError:
            continue
        if not words or "python" not in Path(words[0]).name:
            continue
        name, arguments = start.program(words)
        role = start.role_of(name, arguments)
        if role is None:
            continue
        environment: dict[str, str] | None = None
        try:
            block = (proc / str(pid) / "environ").read_bytes().decode("utf-8", "replace")
            environment = dict(e.split("=", 1) for e in block.split("\0") if "=" in e)
        except OSError:
            pass
        found.append(Process(pid, role, " ".join([name, *arguments])[:120], environment))
    return found
