"""What OpenTelemetry's own loggers may say in Dify's log: a line a minute each, and nothing that was confided.

Exporters log each failure, some with a traceback that quotes the request's headers, licence key included; propagators
quote whatever a caller sent as `baggage`, a line for each of his entries. Filters on their loggers, because these
records are made inside libraries of which Dify chooses the version.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

QUIET_SECONDS = 60.0
"""At most one line in this time from each logger."""
TEXT_MAX = 500
"""Characters of such a line."""

EXPORTING = (
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.exporter.otlp.proto.http._log_exporter",
    "opentelemetry.exporter.otlp.proto.common._internal",
    "opentelemetry.sdk.trace.export",
    "opentelemetry.sdk.metrics._internal.export",
    "opentelemetry.sdk._logs._internal.export",
    "opentelemetry.sdk._shared_internal",
)
QUOTING = ("opentelemetry.baggage.propagation", "opentelemetry.util.re")
"""These quote a caller's header, or the operator's own with the key in it: their arguments are left out."""

_HEADERS = tuple(f"OTEL_EXPORTER_OTLP_{signal}HEADERS" for signal in ("", "TRACES_", "METRICS_", "LOGS_"))
_ENDPOINTS = tuple(f"OTEL_EXPORTER_OTLP_{signal}ENDPOINT" for signal in ("", "TRACES_", "METRICS_", "LOGS_"))
_SECRET_LEAST = 6
"""Shorter values are no keys, and taking them out would make holes in every line."""


def secrets(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The values of the exporters' headers and what else the environment confides to them, longest first."""
    found = {environ.get("DIFY_OTEL_ARMS_LICENSE_KEY", "").strip()}
    for name in _HEADERS:
        for pair in environ.get(name, "").split(","):
            value = pair.partition("=")[2].strip()
            found.update((value, unquote(value), *value.split(), *unquote(value).split()))
    for name in _ENDPOINTS:
        try:
            found.add(urlsplit(environ.get(name, "")).password or "")
        except ValueError:
            continue
    return tuple(sorted((s for s in found if len(s) >= _SECRET_LEAST), key=len, reverse=True))


class Quiet(logging.Filter):
    """Passes one record a minute, without traceback, secrets or quotations."""

    def __init__(self, hidden: tuple[str, ...] = (), quoting: bool = False) -> None:
        super().__init__()
        self._hidden = hidden
        self._quoting = quoting
        self._last = -QUIET_SECONDS
        self._held = 0

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now - self._last < QUIET_SECONDS:
            self._held += 1
            return False
        held, self._held, self._last = self._held, 0, now
        try:
            text = self._text(record)
        except Exception:
            return False  # a record that cannot even be put into words
        record.msg = f"{text} ({held} more such lines held back)" if held else text
        record.args = ()
        record.exc_info = record.exc_text = record.stack_info = None
        return True

    def _text(self, record: logging.LogRecord) -> str:
        if self._quoting:
            return str(record.msg).replace("%s", "…")[:TEXT_MAX]
        text = record.getMessage()
        if record.exc_info and record.exc_info[0] is not None:
            # Its text may quote the request's headers.
            text = f"{text} ({record.exc_info[0].__qualname__})"
        for secret in self._hidden:
            text = text.replace(secret, "***")
        return text[:TEXT_MAX]


def start(environ: Mapping[str, str] | None = None) -> None:
    """Put a filter on each of these loggers that has none yet. Before the exporters are made: they log headers too."""
    hidden = secrets(os.environ if environ is None else environ)
    for name in (*EXPORTING, *QUOTING):
        logger = logging.getLogger(name)
        if not any(isinstance(f, Quiet) for f in logger.filters):
            logger.addFilter(Quiet(hidden, name in QUOTING))
