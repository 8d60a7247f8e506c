"""The judgement: facts in, a report out. What is broken, what is lost, what to do about it.

One place decides what counts as broken (nothing will be seen), degraded (something is missing or surprising) or a note,
so that text, JSON and exit code cannot disagree.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dify_otel_instrumentors.core.operation import Seam
from dify_otel_instrumentors.seams import READY, SEAMS

from dify_otel import __version__, backends, releases, settings, status
from dify_otel.doctor import backend, probe, sources, surroundings
from dify_otel.doctor.sources import ABSENT, FOUND, UNREADABLE, Resolved
from dify_otel.settings import Settings

BROKEN, DEGRADED, NOTE = "broken", "degraded", "note"
EXIT = {"ok": 0, DEGRADED: 1, BROKEN: 2}

LEAST_TELEMETRY = (1, 27)
LEAST_PYTHON = (3, 11)

_INSTRUMENTATIONS = {
    "opentelemetry-instrumentation-flask": "HTTP server spans of the API",
    "opentelemetry-instrumentation-celery": "the hop from API to worker: one request becomes several traces",
    "opentelemetry-instrumentation-sqlalchemy": "SQL spans and their roll-ups",
    "opentelemetry-instrumentation-redis": "Redis spans and their roll-ups",
}
_STANDARD = (
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_INSECURE",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "OTEL_PROPAGATORS",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
)
_FIELDS = {
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "content_mode",
    "OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT": "emit_events",
    "DIFY_OTEL_ERROR_TEXT": "error_text",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "protocol",
}
_OTHER_NAMES = ("DIFY_OTEL_REEXEC", "DIFY_OTEL_LICENSE_KEY", "DIFY_OTEL_PYTHON", "DIFY_OTEL_CACHE")
_SECRET = re.compile(r"KEY|SALT|HEADERS|TOKEN|SECRET|PASSWORD")


@dataclass(frozen=True, slots=True)
class Problem:
    """Something a person should know: `severity` is broken, degraded or note; `advice` what to do."""

    severity: str
    about: str
    text: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class SeamState:
    """One seam in this release: `found`, `drifted`, `absent`, `not in this release`, `off` or `unreadable`."""

    name: str
    state: str
    found: tuple[str, ...] = ()
    drifted: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    lost: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SettingState:
    """One setting as understood; `source` is `environment` or `default`; secrets are masked."""

    name: str
    value: str
    source: str


@dataclass(slots=True)
class Report:
    """Everything that was found."""

    version: str
    dify: dict[str, Any] = field(default_factory=dict)
    python: dict[str, Any] = field(default_factory=dict)
    door: dict[str, Any] = field(default_factory=dict)
    role: dict[str, Any] = field(default_factory=dict)
    processes: list[dict[str, Any]] = field(default_factory=list)
    seams: list[SeamState] = field(default_factory=list)
    spans: dict[str, str] = field(default_factory=dict)
    settings: list[SettingState] = field(default_factory=list)
    settings_from: str = ""
    sampling: str = ""
    backend: dict[str, Any] = field(default_factory=dict)
    telemetry: list[dict[str, Any]] = field(default_factory=list)
    """What each running process says of itself: door, release, seams, exporter, spans exported and dropped."""
    dropped: str = ""
    problems: list[Problem] = field(default_factory=list)

    @property
    def status(self) -> str:
        """`ok`, `degraded` or `broken`: the worst of the problems."""
        severities = {p.severity for p in self.problems}
        return BROKEN if BROKEN in severities else DEGRADED if DEGRADED in severities else "ok"

    @property
    def exit_code(self) -> int:
        return EXIT[self.status]

    def as_json(self) -> str:
        """For machines; the names of fields do not change within a major version."""
        return json.dumps({"status": self.status, "exit_code": self.exit_code, **asdict(self)}, indent=2)

    def add(self, severity: str, about: str, text: str, advice: str = "") -> None:
        self.problems.append(Problem(severity, about, text, advice))


def examine(
    dify: str | None = None,
    python: str | None = None,
    *,
    network: bool = True,
    timeout: float = 5.0,
    environ: Mapping[str, str] | None = None,
) -> Report:
    """Look at everything and judge it. Reads, sends one empty request, changes nothing; never raises for a finding."""
    own = os.environ if environ is None else environ
    report = Report(__version__)
    tree = surroundings.find_dify(dify)
    running = _own_processes(tree.api)
    around = next((p.environment for p in running if p.environment is not None), None)
    environment = own if around is None else around
    # A tree that is only looked at runs nowhere: how it will be started is not to be judged from this shell.
    looked_at = dify is not None and not running
    chosen = settings.read(environment)
    _dify(report, tree)
    interpreter = _python(report, surroundings.find_python(python, tree.api), own, tree.api, chosen)
    _door(report, environment, looked_at, interpreter, chosen)
    _role(report, environment, running)
    if tree.api is not None:
        _seams(report, tree, interpreter, chosen, own)
    native = {**surroundings.dotenv(tree.api), **environment}
    adopted = _spans(report, native, chosen, tree.release)
    _settings(report, environment, chosen, running, tree.api)
    _sampling(report, native, adopted)
    _backend(report, native if adopted else environment, chosen, adopted, interpreter.path, network, timeout, looked_at)
    _telemetry(report, environment, running, everybody=dify is None)
    return report


# --- what is here


def _own_processes(api: Path | None) -> list[surroundings.Process]:
    found = []
    for process in surroundings.processes():
        try:
            if api is not None and Path(f"/proc/{process.pid}/cwd").resolve() == api.resolve():
                found.append(process)
        except OSError:
            continue
    return found


def _dify(report: Report, tree: surroundings.Dify) -> None:
    where = releases.position(tree.release) if tree.release else "unknown"
    report.dify = {
        "api": str(tree.api) if tree.api else None,
        "release": tree.release,
        "found_by": tree.found_by,
        "position": where,
    }
    if tree.api is None:
        report.add(
            BROKEN, "dify", f"no Dify here: {tree.found_by}", "Give its folder: dify-otel doctor --dify /path/to/dify"
        )
    elif tree.release is None:
        report.add(
            DEGRADED, "dify", f"the release is not known: {tree.found_by}", "Seams are judged as for the newest."
        )
    elif where == "older":
        report.add(
            DEGRADED,
            "dify",
            f"Dify {tree.release} is older than {releases.OLDEST}, the oldest release dify-otel is made for",
            "What is found below will work; nobody has tried the whole.",
        )
    elif where in ("newer", "between"):
        report.add(
            NOTE,
            "dify",
            f"Dify {tree.release} is {'newer than' if where == 'newer' else 'none of'} the releases we looked at "
            f"({releases.OLDEST} to {releases.NEWEST})",
            "Judged by what is found in its source.",
        )


def _python(
    report: Report, path: str, environ: Mapping[str, str], api: Path | None, chosen: Settings
) -> surroundings.Interpreter:
    interpreter = surroundings.ask(path, environ)
    packages = dict(interpreter.packages)
    report.python = {
        "path": path,
        "version": ".".join(map(str, interpreter.version)) if interpreter.version else None,
        "packages": packages,
        "problem": interpreter.problem,
    }
    if interpreter.problem:
        report.add(
            DEGRADED,
            "python",
            f"{path}: {interpreter.problem}",
            "Give Dify's interpreter: --python /app/api/.venv/bin/python",
        )
        return interpreter
    if (interpreter.version or ())[:2] < LEAST_PYTHON:
        report.add(BROKEN, "python", f"Python {report.python['version']} is too old: dify-otel needs 3.11 or newer")
    _packages(report, packages, api, chosen)
    return interpreter


def _packages(report: Report, packages: Mapping[str, str | None], api: Path | None, chosen: Settings) -> None:
    sdk = packages.get("opentelemetry-sdk")
    if sdk is None:
        hint = "" if api is None else " Is this Dify's own Python? Its image has it; name it with --python."
        report.add(BROKEN, "python", "opentelemetry-sdk is not installed: nothing can be exported", hint.strip())
        return
    if _numbers(sdk)[:2] < LEAST_TELEMETRY:
        report.add(BROKEN, "python", f"opentelemetry-sdk {sdk} is too old: 1.27 or newer is needed")
    exporter = f"opentelemetry-exporter-otlp-proto-{'grpc' if chosen.protocol == 'grpc' else 'http'}"
    if chosen.traces_exporter == "otlp" and packages.get(exporter) is None:
        other = "http/protobuf" if chosen.protocol == "grpc" else "grpc"
        report.add(
            BROKEN,
            "python",
            f"{exporter} is not installed, and OTEL_EXPORTER_OTLP_PROTOCOL is {chosen.protocol}",
            f"Install it into Dify's environment, or set OTEL_EXPORTER_OTLP_PROTOCOL={other}.",
        )
    for name, lost in _INSTRUMENTATIONS.items():
        if packages.get(name) is None:
            report.add(DEGRADED, "python", f"{name} is not installed; lost: {lost}")
    if packages.get("gevent") is None:
        report.add(NOTE, "python", "gevent is not installed: Dify's servers use it, so this may not be Dify's Python")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version)[:3])


def _door(
    report: Report,
    environ: Mapping[str, str],
    looked_at: bool,
    interpreter: surroundings.Interpreter,
    chosen: Settings,
) -> None:
    injected = surroundings.injections(environ)
    usable = [entry for entry, works in injected if works]
    distro = environ.get("OTEL_PYTHON_DISTRO", "").strip()
    if environ.get("DIFY_OTEL_REEXEC"):
        kind, how = "opentelemetry-instrument", "the process started over as OTEL_PYTHON_DISTRO=dify asks"
    elif usable:
        kind, how = "sitecustomize", f"PYTHONPATH has {usable[0]}"
    elif distro == "dify":
        kind, how = "opentelemetry-instrument", "OTEL_PYTHON_DISTRO=dify"
    else:
        kind, how = "none", "PYTHONPATH has no folder of dify-otel, OTEL_PYTHON_DISTRO is not dify"
    report.door = {"kind": kind, "how": how, "enabled": chosen.enabled}
    for entry, works in injected:
        if not works:
            report.add(
                BROKEN if not usable else NOTE,
                "door",
                f"PYTHONPATH names {entry}, which has no sitecustomize.py of dify-otel",
                "Mount the folder of dify-otel that contains sitecustomize.py (dify_otel/inject), or the archive.",
            )
    if kind == "none" and not injected:
        report.add(
            NOTE if looked_at else BROKEN,
            "door",
            "nothing starts dify-otel here: neither PYTHONPATH nor OTEL_PYTHON_DISTRO names it",
            "Put the folder dify_otel/inject on PYTHONPATH of api and worker, or start them with "
            "opentelemetry-instrument and OTEL_PYTHON_DISTRO=dify OTEL_PYTHON_CONFIGURATOR=dify.",
        )
    if kind == "opentelemetry-instrument" and not usable:
        _distro(report, environ, interpreter)
    if not chosen.enabled:
        by = "OTEL_SDK_DISABLED" if environ.get("OTEL_SDK_DISABLED", "").lower() == "true" else "DIFY_OTEL_ENABLED"
        report.add(BROKEN, "door", f"switched off by {by}={environ.get(by)}: nothing is patched", f"Remove {by}.")


def _distro(report: Report, environ: Mapping[str, str], interpreter: surroundings.Interpreter) -> None:
    missing = [n for n in ("dify-otel", "opentelemetry-distro") if interpreter.packages.get(n) is None]
    if missing and not interpreter.problem:
        report.add(
            BROKEN,
            "door",
            f"OTEL_PYTHON_DISTRO=dify, but {' and '.join(missing)} is not installed in {interpreter.path}",
            "Install dify-otel there (pip install --no-deps dify-otel).",
        )
    if environ.get("OTEL_PYTHON_CONFIGURATOR", "").strip() != "dify" and not environ.get("DIFY_OTEL_REEXEC"):
        report.add(
            DEGRADED, "door", "OTEL_PYTHON_CONFIGURATOR is not dify", "Set it: OpenTelemetry's own would start too."
        )


def _role(report: Report, environ: Mapping[str, str], running: Sequence[surroundings.Process]) -> None:
    mode = environ.get("MODE", "").strip().lower()
    report.processes = [
        {
            "pid": p.pid,
            "role": p.role,
            "command": p.command,
            "instrumented": None if p.environment is None else _has_door(p.environment),
        }
        for p in running
    ]
    if running:
        roles = sorted({p.role for p in running})
        report.role = {"role": ", ".join(roles), "found_by": "running processes"}
        bare = [p for p in running if p.environment is not None and not _has_door(p.environment)]
        if bare and len(bare) < len(running):
            report.add(
                DEGRADED,
                "role",
                f"started without dify-otel: {', '.join(f'{p.role} (pid {p.pid})' for p in bare)}",
                "Give every Dify service the same environment; a trace ends where a service does not take part.",
            )
    elif mode:
        report.role = {"role": mode, "found_by": "MODE"}
    else:
        report.role = {"role": "unknown", "found_by": "no Dify process here, MODE is not set (the image then runs api)"}


def _has_door(environ: Mapping[str, str]) -> bool:
    return any(works for _, works in surroundings.injections(environ)) or environ.get("OTEL_PYTHON_DISTRO") == "dify"


# --- seams


def _resolve(
    roots: Sequence[Path], targets: Sequence[str], interpreter: surroundings.Interpreter, environ: Mapping[str, str]
) -> dict[str, Resolved]:
    """Every target; what this Python is too old to parse is read by Dify's."""
    tree = sources.Sources(roots)
    found = {t: tree.resolve(t) for t in targets}
    unread = [t for t, r in found.items() if r.state == UNREADABLE]
    if unread and not interpreter.problem:
        asked = json.dumps({"roots": [str(r) for r in roots], "targets": unread})
        try:
            ran = subprocess.run(
                [interpreter.path, str(Path(sources.__file__))],
                input=asked,
                env=surroundings.quiet(environ),
                capture_output=True,
                text=True,
                timeout=surroundings.SECONDS * 3,
                check=False,
            )
            for said in json.loads(ran.stdout):
                parameters = said.pop("parameters")
                found[said["target"]] = Resolved(
                    **said, parameters=tuple(parameters) if parameters is not None else None
                )
        except (OSError, ValueError, TypeError, subprocess.TimeoutExpired):
            return found
    return found


def _seams(
    report: Report,
    tree: surroundings.Dify,
    interpreter: surroundings.Interpreter,
    chosen: Settings,
    environ: Mapping[str, str],
) -> None:
    if tree.api is None:
        return
    # The interpreter may have a graphon that this release knows nothing of.
    pinned = "graphon" in _requirements(tree.api)
    engine = surroundings.engine_roots(interpreter, tree.api) if pinned else []
    found = _resolve([tree.api, *engine], [READY, *(t for s in SEAMS for t in s.targets)], interpreter, environ)
    if found[READY].state != FOUND:
        report.add(
            BROKEN,
            "seams",
            f"{READY} is {found[READY].state}: the moment Dify is ready cannot be seen, so nothing is exported",
            found[READY].detail,
        )
    release = tree.release or releases.NEWEST
    needs_engine = pinned and not engine
    report.seams = [_seam(seam, found, release, chosen) for seam in SEAMS]
    for state in report.seams:
        if state.state == ABSENT and not (needs_engine and state.name.startswith("node.")):
            report.add(DEGRADED, "seams", f"{state.name} is absent; lost: {state.lost}")
        elif state.state == "drifted":
            gone = "; ".join(f"{t.partition(':')[2]} lacks {', '.join(p)}" for t, p in state.drifted.items())
            report.add(DEGRADED, "seams", f"{state.name} has drifted ({gone}); its span is there, some facts are not")
        elif state.state == UNREADABLE:
            report.add(DEGRADED, "seams", f"{state.name} cannot be read: {state.detail}", "Give Dify's own --python.")
    if needs_engine:
        report.add(
            DEGRADED,
            "seams",
            "this release's workflow engine is the package graphon, which was not found: node seams were not judged",
            "Give the interpreter it is installed for: --python",
        )


def _requirements(api: Path) -> str:
    try:
        return (api / "pyproject.toml").read_text("utf-8")
    except OSError:
        return ""


def _seam(seam: Seam, found: Mapping[str, Resolved], release: str, chosen: Settings) -> SeamState:
    results = [found[t] for t in seam.targets]
    present = tuple(r.target for r in results if r.state == FOUND)
    drifted = {
        r.target: tuple(p for p in seam.reads if p not in (r.parameters or ()))
        for r in results
        if r.state == FOUND and r.parameters is not None and any(p not in r.parameters for p in seam.reads)
    }
    if seam.name in chosen.seams_disabled or seam.name.partition(".")[0] in chosen.seams_disabled:
        return SeamState(seam.name, "off", present, lost=seam.lost, detail="DIFY_OTEL_SEAMS_DISABLED")
    if present:
        return SeamState(seam.name, "drifted" if drifted else FOUND, present, drifted, seam.lost)
    unread = next((r for r in results if r.state == UNREADABLE), None)
    if unread is not None:
        return SeamState(seam.name, UNREADABLE, lost=seam.lost, detail=unread.detail)
    if releases.claims(seam, release):
        return SeamState(seam.name, ABSENT, lost=seam.lost)
    return SeamState(seam.name, "not in this release", detail=", ".join(seam.releases))


# --- whose spans, settings, sampling


def _true(environ: Mapping[str, str], name: str) -> bool:
    return environ.get(name, "").strip().lower() in ("true", "1", "yes", "on")


def _spans(report: Report, environ: Mapping[str, str], chosen: Settings, release: str | None) -> bool:
    """Fills in who makes which spans; returns whether Dify's provider will be adopted."""
    adopted = _true(environ, "ENABLE_OTEL")
    at = releases.version(release or "")
    can = at is None or at >= (1, 11, 0, 0)
    wanted = can and (adopted or _true(environ, "ENABLE_OTEL_FOR_INSTRUMENT"))
    report.spans["provider"] = (
        "Dify's (ENABLE_OTEL=true): its exporter, sampling and resource hold for our spans too"
        if adopted
        else "ours (ENABLE_OTEL is not on)"
    )
    if not wanted:
        report.spans["app and node spans"] = "ours; Dify makes none of its own here"
    elif chosen.native_spans == "dify":
        report.spans["app and node spans"] = "Dify's and ours (DIFY_OTEL_NATIVE_SPANS=dify)"
        report.add(
            NOTE, "spans", "Dify's own app and node spans are left on: the same thing may appear twice in a trace"
        )
    else:
        report.spans["app and node spans"] = "ours; Dify's own are made inert (DIFY_OTEL_NATIVE_SPANS=ours)"
    return adopted


def _settings(
    report: Report,
    environ: Mapping[str, str],
    chosen: Settings,
    running: Sequence[surroundings.Process],
    api: Path | None,
) -> None:
    source = next((p for p in running if p.environment is environ), None)
    report.settings_from = f"environment of {source.role}, pid {source.pid}" if source else "this shell's environment"
    for known in settings.DOCUMENTED:
        given = environ.get(known.name, "").strip()
        value = _understood(known.name, chosen, given or known.default)
        report.settings.append(SettingState(known.name, _masked(known.name, value), _source(given)))
    for name in _STANDARD:
        given = environ.get(name, "").strip()
        if given:
            report.settings.append(SettingState(name, _masked(name, given), _source(given)))
    for warning in chosen.warnings:
        report.add(DEGRADED, "settings", warning)
    documented = [s.name for s in settings.DOCUMENTED]
    for name in sorted(environ):
        if name.startswith("DIFY_OTEL_") and name not in documented and name not in _OTHER_NAMES:
            near = difflib.get_close_matches(name, documented, 1)
            report.add(
                DEGRADED,
                "settings",
                f"{name} is not a setting of dify-otel",
                f"Did you mean {near[0]}?" if near else "",
            )
    stray = [n for n in surroundings.dotenv(api) if n.startswith("DIFY_OTEL_") and n not in environ]
    if stray:
        report.add(
            DEGRADED,
            "settings",
            f"{', '.join(sorted(stray))}: only in Dify's .env file, which dify-otel does not read",
            "Put them into the environment of the container or process.",
        )


def _understood(name: str, chosen: Settings, value: str) -> str:
    attribute = _FIELDS.get(name) or name.removeprefix("DIFY_OTEL_").removeprefix("OTEL_").lower()
    if name in ("OTEL_SERVICE_NAME", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_SDK_DISABLED"):
        return value
    found = getattr(chosen, attribute, None)
    if found is None:
        return value
    if isinstance(found, bool):
        return str(found).lower()
    if isinstance(found, tuple | frozenset):
        return ",".join(sorted(found) if isinstance(found, frozenset) else found)
    return f"{found:g}" if isinstance(found, float) else str(found)


def _source(given: str) -> str:
    return "environment" if given else "default"


def _masked(name: str, value: str) -> str:
    if not value:
        return value
    if "HEADERS" in name and name.startswith("OTEL_"):
        return ",".join(f"{header}=***" for header in backend.headers(value)) or "***"
    if _SECRET.search(name) and name != "DIFY_OTEL_RESPONSE_HEADERS":
        return "***"
    return backends.masked(value)


def _sampling(report: Report, environ: Mapping[str, str], adopted: bool) -> None:
    if adopted:
        text = environ.get("OTEL_SAMPLING_RATE", "").strip()
        rate = text or "0.1"
        report.sampling = f"Dify's OTEL_SAMPLING_RATE={rate}{'' if text else ' (its default)'}, by parent"
        try:
            partial = float(rate) < 1
        except ValueError:
            partial = False
        if partial:
            report.add(
                DEGRADED,
                "sampling",
                f"ENABLE_OTEL is on and its sampling rate is {rate}: the other traces are not recorded",
                "Set OTEL_SAMPLING_RATE=1, or ENABLE_OTEL=false to let dify-otel export.",
            )
        return
    sampler = environ.get("OTEL_TRACES_SAMPLER", "").strip()
    argument = environ.get("OTEL_TRACES_SAMPLER_ARG", "").strip()
    if not sampler:
        report.sampling = "every trace (parentbased_always_on, the default)"
        return
    report.sampling = f"{sampler}{f' {argument}' if argument else ''} (OTEL_TRACES_SAMPLER)"
    if sampler in ("always_off", "parentbased_always_off"):
        report.add(BROKEN, "sampling", f"OTEL_TRACES_SAMPLER={sampler}: no trace is recorded", "Remove it.")
    elif "traceidratio" in sampler:
        try:
            if not 0 <= float(argument or "1") <= 1:
                raise ValueError
        except ValueError:
            report.add(DEGRADED, "sampling", f"OTEL_TRACES_SAMPLER_ARG={argument!r} is not a ratio from 0 to 1")
        else:
            if float(argument or "1") == 0:
                report.add(BROKEN, "sampling", "the sampling ratio is 0: no trace is recorded")


# --- backend


def _backend(
    report: Report,
    environ: Mapping[str, str],
    chosen: Settings,
    adopted: bool,
    python: str,
    network: bool,
    timeout: float,
    looked_at: bool,
) -> None:
    values, wrong = (dict(environ), "") if adopted else backend.effective(environ, chosen)
    if wrong:
        report.add(DEGRADED, "backend", f"DIFY_OTEL_ARMS_ENDPOINT: {wrong}", "Until then the standard settings hold.")
    try:
        target = backend.native_target(values, timeout) if adopted else backend.own_target(values, chosen, timeout)
    except ValueError as error:
        report.backend = {"target": None, "state": probe.FAILED, "text": str(error)}
        report.add(BROKEN, "backend", f"the endpoint is not an address: {error}")
        return
    if target is None:
        report.backend = {"target": None, "state": "off", "text": "traces are not sent over OTLP"}
        if chosen.traces_exporter == "none" and not adopted:
            report.add(DEGRADED, "backend", "OTEL_TRACES_EXPORTER=none: spans are made and thrown away")
        return
    report.backend = {"target": backend.shown(target)}
    configured = adopted or any(
        values.get(n, "").strip() for n in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    )
    if not network or (looked_at and not configured):
        why = "--no-network" if not network else "no endpoint is set in this shell"
        report.backend |= {"state": "not tried", "text": f"not tried ({why})"}
        return
    try:
        answer = backend.ask(target, python, environ)
    except ValueError as error:
        answer = probe.Answer(probe.FAILED, "address", f"the endpoint is not an address: {error}")
    report.backend |= asdict(answer)
    if answer.state == probe.FAILED:
        report.add(BROKEN, "backend", f"{backend.shown(target)}: {answer.text}", answer.advice)
    elif answer.state == probe.PARTLY:
        report.add(DEGRADED, "backend", f"{backend.shown(target)}: {answer.text}", answer.advice)


# --- running processes

_ADVICE = {
    "queue": "More is made than leaves: raise OTEL_BSP_MAX_QUEUE_SIZE, or give the backend or collector more room.",
    "export": "The backend refused them or did not answer in time; the request above says how it is now.",
}


def _telemetry(
    report: Report, environ: Mapping[str, str], running: Sequence[surroundings.Process], *, everybody: bool
) -> None:
    """What running processes wrote down of themselves; with a tree named, only those of that tree."""
    environments = [environ, *(p.environment for p in running if p.environment is not None)]
    places = [status.folder(e.get("DIFY_OTEL_STATUS_DIR", ""), e) for e in environments]
    found, unreadable = status.read(p for p in places if p is not None)
    ours = {p.pid for p in running}
    report.telemetry = [said for said in found if everybody or said["pid"] in ours]
    counted = [said for said in report.telemetry if said["spans"] is not None]
    for said in counted:
        reasons = {reason: number for reason, number in said["spans"]["dropped"].items() if number}
        if reasons:
            told = ", ".join(f"{reason} {number}" for reason, number in reasons.items())
            report.add(
                DEGRADED,
                "export",
                f"{said['role']} (pid {said['pid']}) dropped {sum(reasons.values())} spans ({told}) and exported "
                f"{said['spans']['exported']}",
                " ".join(_ADVICE[r] for r in reasons if r in _ADVICE),
            )
    for said in report.telemetry:
        if said["version"] != __version__:
            report.add(
                NOTE, "role", f"{said['role']} (pid {said['pid']}) runs dify-otel {said['version']}", "Restart it."
            )
    if counted:
        lost = sum(sum(said["spans"]["dropped"].values()) for said in counted)
        sent = sum(said["spans"]["exported"] for said in counted)
        report.dropped = f"{lost or 'none'}; {sent} exported, by {len(counted)} running processes"
        return
    if report.telemetry:
        report.dropped = "not counted by us: Dify's own exporter sends them"
        return
    why = "another user's" if unreadable else "off" if not any(places) else "none found"
    report.dropped = (
        f"not known (status files of running processes: {why}); the metric dify.otel.spans.dropped has the count, and "
        "a process writes one line a minute to its log while it drops"
    )
