"""Settings: one frozen dataclass, read once from the environment, with its documentation.

Standard names first, as OpenTelemetry's specification says; empty means unset (Dify's compose files set
`OTEL_EXPORTER_OTLP_PROTOCOL` to an empty string). A value that is not understood gives one warning and the default.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from dify_otel_instrumentors.core.metrics import OWNERS
from dify_otel_instrumentors.core.semconv import DIALECTS, LATEST, VERSIONS, version_dialect

from dify_otel import notice

CONTENT_MODES = ("NO_CONTENT", "SPAN_ONLY", "EVENT_ONLY", "SPAN_AND_EVENT")


@dataclass(frozen=True, slots=True)
class Setting:
    """One environment variable: its allowed values (in words), default and meaning."""

    name: str
    values: str
    default: str
    meaning: str


DOCUMENTED: tuple[Setting, ...] = (
    Setting("DIFY_OTEL_ENABLED", "true, false", "true", "Everything on or off; off patches nothing."),
    Setting("OTEL_SDK_DISABLED", "true, false", "false", "The standard switch; `true` patches nothing."),
    Setting(
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT",
        ", ".join(CONTENT_MODES),
        "NO_CONTENT",
        "Whether prompts, answers, documents, tool arguments, SQL and query strings leave the process "
        "(`true` means SPAN_ONLY).",
    ),
    Setting(
        "OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT",
        "true, false",
        "false",
        "An event over OTLP logs for each model call; the content modes with events imply it.",
    ),
    Setting("DIFY_OTEL_CONTENT_MAX_LENGTH", "characters", "8192", "Limit of one content value; JSON stays valid."),
    Setting(
        "DIFY_OTEL_ERROR_TEXT",
        "auto, true, false",
        "auto",
        "The text of errors (their class is always recorded); `auto` follows the content switch.",
    ),
    Setting("DIFY_OTEL_DIALECTS", "otel, arms, openinference", "otel,arms", "Further names on the same spans."),
    Setting(
        "DIFY_OTEL_SEMCONV",
        "latest, dup, 1.41",
        "latest",
        "Names of OpenTelemetry's GenAI conventions: the newest, those and the former ones, or those of core 1.41.1.",
    ),
    Setting(
        "OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK",
        "name of an entry point",
        "",
        "A hook of the group `opentelemetry_genai_completion_hook`, called with the messages of each recorded model "
        "call while content capture is on.",
    ),
    Setting(
        "DIFY_OTEL_USER_ID",
        "external, internal, hash, off",
        "external",
        "Which user id: the caller's own, Dify's, a hash, none.",
    ),
    Setting("DIFY_OTEL_USER_ID_SALT", "text", "", "Salt of the `hash` user id."),
    Setting(
        "DIFY_OTEL_INFRA_SPANS",
        "slow, all, off",
        "slow",
        "SQL and Redis spans: the slow (at most 32 of a kind a request) and failed ones, all, or none; "
        "counts and seconds are rolled up in every mode.",
    ),
    Setting("DIFY_OTEL_INFRA_SLOW_MS", "milliseconds", "10", "From here on a SQL or Redis call is slow."),
    Setting("DIFY_OTEL_NATIVE_SPANS", "ours, dify", "ours", "Who makes app and node spans when Dify can as well."),
    Setting(
        "DIFY_OTEL_PROPAGATE_TO",
        "cluster, all, or hosts",
        "cluster",
        "Hosts (`name` or `name:port`, comma-separated) that get trace headers besides Dify's own services.",
    ),
    Setting(
        "DIFY_OTEL_TRUST_INCOMING",
        "true, false",
        "true",
        "Whether a caller's trace context is continued; `false` starts a new trace that links to it.",
    ),
    Setting(
        "DIFY_OTEL_RESPONSE_HEADERS",
        "off, traceparent, server-timing, both",
        "off",
        "Response headers that lead from an answer to its trace.",
    ),
    Setting(
        "DIFY_OTEL_METRICS_APP_LABELS",
        "off, or app_id, app_name, tenant_id",
        "off",
        "Labels (comma-separated) that say whose a point is, on `dify.*` and `gen_ai.*` metrics; at most 200 values "
        "each in a process, the rest are `other`. Not on what goes up and down.",
    ),
    Setting("DIFY_OTEL_SEAMS_DISABLED", "seam names", "", "Seams (or their groups) to leave alone, comma-separated."),
    Setting("DIFY_OTEL_LOG_LEVEL", "debug, info, warning, error", "warning", "Our own few lines."),
    Setting("DIFY_OTEL_FLUSH_SECONDS", "seconds", "3", "Longest wait for the last spans when a process ends."),
    Setting(
        "DIFY_OTEL_STATUS_DIR",
        "folder, off",
        "",
        "Where each process keeps a small status file for the doctor (the temp folder when unset); `off` keeps none.",
    ),
    Setting("DIFY_OTEL_ARMS_ENDPOINT", "as the ARMS console shows it", "", "Alibaba Cloud Monitor's endpoint."),
    Setting("DIFY_OTEL_ARMS_LICENSE_KEY", "text", "", "Alibaba Cloud Monitor's license key."),
    Setting("DIFY_OTEL_ARMS_APP_NAME", "text", "", "Alibaba Cloud Monitor's application name."),
    Setting(
        "OTEL_SERVICE_NAME",
        "text",
        "by role",
        "dify-api, dify-worker, dify-beat or dify-job; the overlays name dify-websocket.",
    ),
    Setting("OTEL_EXPORTER_OTLP_ENDPOINT", "URL", "http://localhost:4317", "Where to export to."),
    Setting("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc, http/protobuf", "grpc", "How to export."),
    Setting("OTEL_TRACES_EXPORTER", "otlp, console, none", "otlp", "Traces on, printed, or off."),
    Setting("OTEL_METRICS_EXPORTER", "otlp, console, none", "otlp", "Metrics on, printed, or off."),
    Setting("OTEL_LOGS_EXPORTER", "none, otlp, console", "none", "Dify's log records over OTLP."),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment asks for. Durations in the unit of their name."""

    enabled: bool = True
    content_mode: str = "NO_CONTENT"
    emit_events: bool = False
    content_max_length: int = 8192
    error_text: bool = False
    dialects: tuple[str, ...] = ("otel", "arms")
    """The chosen ones, and behind them what `semconv` adds."""
    semconv: str = "latest"
    completion_hook: str = ""
    user_id: str = "external"
    user_id_salt: str = field(default="", repr=False)
    infra_spans: str = "slow"
    infra_slow_ms: float = 10.0
    native_spans: str = "ours"
    propagate_to: tuple[str, ...] = ("cluster",)
    trust_incoming: bool = True
    response_headers: str = "off"
    metrics_app_labels: tuple[str, ...] = ()
    seams_disabled: frozenset[str] = frozenset()
    log_level: str = "warning"
    flush_seconds: float = 3.0
    status_dir: str = ""
    arms_endpoint: str = ""
    arms_license_key: str = field(default="", repr=False)
    arms_app_name: str = ""
    service_name: str = ""
    protocol: str = "grpc"
    traces_exporter: str = "otlp"
    metrics_exporter: str = "otlp"
    logs_exporter: str = "none"
    warnings: tuple[str, ...] = ()

    @property
    def content_on_spans(self) -> bool:
        return self.content_mode in ("SPAN_ONLY", "SPAN_AND_EVENT")

    @property
    def content_on_events(self) -> bool:
        return self.content_mode in ("EVENT_ONLY", "SPAN_AND_EVENT")


class _Reader:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.warnings: list[str] = []

    def text(self, name: str, default: str = "") -> str:
        return self.environ.get(name, "").strip() or default

    def word(self, name: str, allowed: tuple[str, ...], default: str) -> str:
        value = self.text(name)
        if not value:
            return default
        for word in allowed:
            if value.lower() == word.lower():
                return word
        self._warn(name, value, ", ".join(allowed), default)
        return default

    def flag(self, name: str, default: bool) -> bool:
        value = self.text(name).lower()
        if not value:
            return default
        if value in ("true", "1", "yes", "on"):
            return True
        if value in ("false", "0", "no", "off"):
            return False
        self._warn(name, value, "true, false", str(default).lower())
        return default

    def number(self, name: str, default: float, least: float, most: float) -> float:
        value = self.text(name)
        if not value:
            return default
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not least <= number <= most:
            self._warn(name, value, f"a number from {least:g} to {most:g}", f"{default:g}")
            return default
        return number

    def words(self, name: str, allowed: tuple[str, ...], default: tuple[str, ...]) -> tuple[str, ...]:
        value = self.text(name)
        if not value:
            return default
        chosen = [w.strip().lower() for w in value.split(",") if w.strip()]
        for word in chosen:
            if word not in allowed:
                self._warn(name, word, ", ".join(allowed), ",".join(default))
        return tuple(w for w in chosen if w in allowed) or default

    def _warn(self, name: str, value: str, allowed: str, default: str) -> None:
        self.warnings.append(
            f"{name}={value[:64]!r} is not understood (allowed: {allowed}); using {default or 'nothing'}"
        )


def read(environ: Mapping[str, str]) -> Settings:
    """Settings as `environ` asks for them; never raises, warns instead."""
    reader = _Reader(environ)
    mode = reader.text("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT")
    legacy = {"true": "SPAN_ONLY", "false": "NO_CONTENT"}.get(mode.lower())
    content = legacy or reader.word("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", CONTENT_MODES, "NO_CONTENT")
    on_spans = content != "NO_CONTENT"
    error_text = reader.word("DIFY_OTEL_ERROR_TEXT", ("auto", "true", "false"), "auto")
    protocol = reader.word(
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
        if reader.text("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
        else "OTEL_EXPORTER_OTLP_PROTOCOL",
        ("grpc", "http/protobuf"),
        "grpc",
    )
    semconv = reader.word("DIFY_OTEL_SEMCONV", VERSIONS, LATEST)
    disabled = frozenset(w.strip() for w in reader.text("DIFY_OTEL_SEAMS_DISABLED").split(",") if w.strip())
    return Settings(
        enabled=reader.flag("DIFY_OTEL_ENABLED", True) and not reader.flag("OTEL_SDK_DISABLED", False),
        content_mode=content,
        emit_events=content in ("EVENT_ONLY", "SPAN_AND_EVENT")
        or reader.flag("OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT", False),
        content_max_length=int(reader.number("DIFY_OTEL_CONTENT_MAX_LENGTH", 8192, 16, 1_048_576)),
        error_text=on_spans if error_text == "auto" else error_text == "true",
        dialects=reader.words("DIFY_OTEL_DIALECTS", DIALECTS, ("otel", "arms")) + version_dialect(semconv),
        semconv=semconv,
        completion_hook=reader.text("OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK"),
        user_id=reader.word("DIFY_OTEL_USER_ID", ("external", "internal", "hash", "off"), "external"),
        user_id_salt=reader.text("DIFY_OTEL_USER_ID_SALT"),
        infra_spans=reader.word("DIFY_OTEL_INFRA_SPANS", ("slow", "all", "off"), "slow"),
        infra_slow_ms=reader.number("DIFY_OTEL_INFRA_SLOW_MS", 10, 0, 3_600_000),
        native_spans=reader.word("DIFY_OTEL_NATIVE_SPANS", ("ours", "dify"), "ours"),
        propagate_to=tuple(
            w.strip().lower() for w in reader.text("DIFY_OTEL_PROPAGATE_TO", "cluster").split(",") if w.strip()
        ),
        trust_incoming=reader.flag("DIFY_OTEL_TRUST_INCOMING", True),
        response_headers=reader.word(
            "DIFY_OTEL_RESPONSE_HEADERS", ("off", "traceparent", "server-timing", "both"), "off"
        ),
        metrics_app_labels=tuple(
            w for w in reader.words("DIFY_OTEL_METRICS_APP_LABELS", ("off", *OWNERS), ()) if w != "off"
        ),
        seams_disabled=disabled,
        log_level=reader.word("DIFY_OTEL_LOG_LEVEL", ("debug", "info", "warning", "error"), "warning"),
        flush_seconds=reader.number("DIFY_OTEL_FLUSH_SECONDS", 3, 0, 60),
        status_dir=reader.text("DIFY_OTEL_STATUS_DIR"),
        arms_endpoint=reader.text("DIFY_OTEL_ARMS_ENDPOINT"),
        arms_license_key=reader.text("DIFY_OTEL_ARMS_LICENSE_KEY"),
        arms_app_name=reader.text("DIFY_OTEL_ARMS_APP_NAME"),
        service_name=reader.text("OTEL_SERVICE_NAME"),
        protocol=protocol,
        traces_exporter=reader.word("OTEL_TRACES_EXPORTER", ("otlp", "console", "none"), "otlp"),
        metrics_exporter=reader.word("OTEL_METRICS_EXPORTER", ("otlp", "console", "none"), "otlp"),
        logs_exporter=reader.word("OTEL_LOGS_EXPORTER", ("none", "otlp", "console"), "none"),
        warnings=tuple(reader.warnings),
    )


_current: Settings | None = None


def current() -> Settings:
    """This process's settings, read at the first call; warnings go to standard error then, once."""
    global _current
    if _current is None:
        _current = read(os.environ)
        for warning in _current.warnings:
            notice.line(f"dify-otel: {warning}")
    return _current


def table() -> str:
    """The README's table of settings, in Markdown."""
    rows = ["| variable | values | default | meaning |", "|---|---|---|---|"]
    rows += [
        f"| `{s.name}` | {s.values} | {f'`{s.default}`' if s.default else 'unset'} | {s.meaning} |" for s in DOCUMENTED
    ]
    return "\n".join(rows)
