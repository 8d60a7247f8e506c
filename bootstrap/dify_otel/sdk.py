"""The SDK of one process: provider, exporters, resource, sampling; our own, or Dify's adopted.

Started after gevent's patch, after the last fork and after Dify's own telemetry. The provider is private: nothing is
set globally, so that no switch of Dify's can emit the same span a second time through it; the context is shared, so
that Dify's own readers of the current span (log lines, response headers) see ours.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from dify_otel_instrumentors import release
from dify_otel_instrumentors.core import context as call_context
from dify_otel_instrumentors.core import guard, hooks, metrics, semconv, span
from dify_otel_instrumentors.core.rules import Policy
from dify_otel_instrumentors.seams import SEAMS
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter, SpanExportResult

from dify_otel import __version__
from dify_otel.settings import Settings

SCOPE = "dify-otel"
BATCH = 128
"""Spans a batch unless OTEL_BSP_MAX_EXPORT_BATCH_SIZE says otherwise: encoding one holds up a gevent process."""
QUIET_SECONDS = 60.0
"""At most one line in this time from each of the exporters' loggers."""

_EXPORT_LOGGERS = (
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.exporter.otlp.proto.http._log_exporter",
    "opentelemetry.sdk.trace.export",
    "opentelemetry.sdk.metrics._internal.export",
    "opentelemetry.sdk._shared_internal",
)

_ROLE_SERVICES = {"api": "dify-api", "worker": "dify-worker", "beat": "dify-beat", "job": "dify-job"}


class Sdk:
    """What runs in this process; `pid` tells a forked copy from the original."""

    def __init__(self, settings: Settings, role: str) -> None:
        self.settings = settings
        self.role = role
        self.pid = os.getpid()
        self.tracer_provider: Any = None
        self.meter_provider: Any = None
        self.logger_provider: Any = None
        self.adopted = False
        self.spans: _Spans | None = None

    def flush(self) -> None:
        """Send what is queued, within `flush_seconds`, whatever the backend does. Never raises."""
        try:
            thread = threading.Thread(target=self._flush, name="dify-otel-flush", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter no longer starts threads
                self._flush()
                return
            thread.join(self.settings.flush_seconds)
        except Exception:
            guard.failed("sdk.flush")

    def _flush(self) -> None:
        for provider in (self.tracer_provider, self.meter_provider, self.logger_provider):
            try:
                if provider is not None:
                    provider.force_flush(int(self.settings.flush_seconds * 1000))
            except Exception:
                guard.failed("sdk.flush")


class _Spans(SpanExporter):
    """Counts what an exporter made of the spans it was given."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.exported = 0
        self.failed = 0
        self.dropped = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            if result is SpanExportResult.SUCCESS:
                self.exported += len(spans)
                metrics.record("dify.otel.spans.exported", len(spans), {})
            else:
                self.failed += len(spans)
                metrics.record("dify.otel.spans.dropped", len(spans), {"reason": "export"})
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return bool(self._exporter.force_flush(timeout_millis))


class _Queue(SpanProcessor):
    """The batch processor, with the spans it has no room for counted and one line a minute about them."""

    def __init__(self, processor: BatchSpanProcessor, spans: _Spans) -> None:
        self._processor = processor
        self._spans = spans
        self._said = -QUIET_SECONDS
        inner = getattr(processor, "_batch_processor", processor)
        # `queue` until 1.33, `_queue` afterwards; a bounded deque that forgets its oldest.
        self._queue: Any = getattr(inner, "_queue", None) or getattr(inner, "queue", None)
        if self._queue is None:
            self._queue = getattr(inner, "_queue", getattr(inner, "queue", ()))

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        self._processor.on_start(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        most = getattr(self._queue, "maxlen", None)
        if most is not None and len(self._queue) >= most:
            self._spans.dropped += 1
            metrics.record("dify.otel.spans.dropped", 1, {"reason": "queue"})
            now = time.monotonic()
            if now - self._said >= QUIET_SECONDS:
                self._said = now
                _log().warning("the queue of spans is full: %d dropped so far", self._spans.dropped)
        self._processor.on_end(span)

    def shutdown(self) -> None:
        self._processor.shutdown()  # type: ignore[no-untyped-call]

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return bool(self._processor.force_flush(timeout_millis))


class _OncePerMinute(logging.Filter):
    def __init__(self) -> None:
        super().__init__()
        self._last = -QUIET_SECONDS
        self._held = 0

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now - self._last < QUIET_SECONDS:
            self._held += 1
            return False
        if self._held:
            record.msg = f"{record.getMessage()} ({self._held} more such lines held back)"
            record.args = ()
        self._last, self._held = now, 0
        return True


def _log() -> logging.Logger:
    return logging.getLogger("dify_otel")


@contextlib.contextmanager
def _standard_environment(settings: Settings) -> Iterator[None]:
    """The standard variables as the SDK and the exporters should read them, while they are being made.

    Empty means unset (they would take it literally), and a backend that was named gives what its variables would say.
    """
    values: dict[str, str] = {}
    if settings.arms_endpoint:
        from dify_otel import backends

        try:
            values = backends.environment(
                backends.resolve(
                    "arms", settings.arms_endpoint, settings.arms_license_key, settings.arms_app_name or None
                )
            )
        except backends.BackendError as error:  # its text never holds the key
            sys.stderr.write(
                f"dify-otel: DIFY_OTEL_ARMS_ENDPOINT: {error}; exporting by the standard variables instead\n"
            )
        if not settings.arms_app_name:
            values.pop("OTEL_SERVICE_NAME", None)
        wanted = os.environ.get("OTEL_RESOURCE_ATTRIBUTES")
        if wanted and "OTEL_RESOURCE_ATTRIBUTES" in values:
            values["OTEL_RESOURCE_ATTRIBUTES"] = f"{values['OTEL_RESOURCE_ATTRIBUTES']},{wanted}"
    before = {n: v for n, v in os.environ.items() if n in values or (n.startswith("OTEL_") and not v.strip())}
    for name in before:
        del os.environ[name]
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            os.environ.pop(name, None)
        os.environ.update(before)


def _protocol(settings: Settings, signal: str) -> str:
    """`grpc` or `http/protobuf`, for `TRACES` or `METRICS`."""
    specific = os.environ.get(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL")
    chosen = specific or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") or settings.protocol
    return chosen if chosen in ("grpc", "http/protobuf") else settings.protocol


def preload(settings: Settings) -> None:
    """Import what `start` will need, and start nothing: no thread, no channel, no provider."""
    import importlib

    kinds = {_protocol(settings, signal) for signal in ("TRACES", "METRICS")}
    names = ["dify_otel.infra", "dify_otel.logs", "opentelemetry.sdk.metrics.export"]
    for kind in kinds:
        package = "grpc" if kind == "grpc" else "http"
        names += [f"opentelemetry.exporter.otlp.proto.{package}.{what}_exporter" for what in ("trace", "metric")]
    names += [
        f"opentelemetry.instrumentation.{what}" for what in ("celery", "sqlalchemy", "redis", "httpx", "requests")
    ]
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def start(settings: Settings, role: str, app: Any = None) -> Sdk:
    """Start telemetry in this process and return it; what fails is left out and reported, never raised to Dify."""
    from dify_otel import infra, logs

    sdk = Sdk(settings, role)
    logging.getLogger("dify_otel").setLevel(settings.log_level.upper())
    for name in _EXPORT_LOGGERS:
        logging.getLogger(name).addFilter(_OncePerMinute())
    with _standard_environment(settings):
        existing = trace.get_tracer_provider()
        if isinstance(existing, TracerProvider):
            _adopt(sdk, existing)
        else:
            _own(sdk)
    policy = Policy(
        content_on_spans=settings.content_on_spans,
        content_on_events=settings.content_on_events,
        events=settings.emit_events,
        error_text=settings.error_text,
        content_limit=settings.content_max_length,
        dialects=settings.dialects,
        user_id=settings.user_id,
        user_id_salt=settings.user_id_salt,
    )
    span.configure(
        sdk.tracer_provider.get_tracer(SCOPE, __version__, schema_url=semconv.SCHEMA_URL),
        policy,
        logs.emitter(sdk.logger_provider) if settings.emit_events and sdk.logger_provider is not None else None,
    )
    if sdk.meter_provider is not None:
        metrics.configure(sdk.meter_provider.get_meter(SCOPE, __version__, schema_url=semconv.SCHEMA_URL))
    logs.mark_records()
    call_context.carry_into_threads()
    infra.start(sdk, app)
    atexit.register(sdk.flush)
    if role == "worker":
        from celery.signals import worker_process_shutdown

        worker_process_shutdown.connect(lambda **_: sdk.flush(), weak=False)
    _announce(sdk)
    return sdk


def _announce(sdk: Sdk) -> None:
    from dify_otel import releases

    running = release.running()
    claimed = {s.name for s in SEAMS if running is None or releases.claims(s, running)}
    on = {name for name, found in hooks.outcomes.items() if any(o.state == "on" for o in found)}
    total = len((claimed | on) & set(hooks.outcomes))
    exporter = "Dify's own" if sdk.adopted else f"{sdk.settings.traces_exporter} {sdk.settings.protocol}"
    sys.stderr.write(
        f"dify-otel {__version__}: {sdk.role}, Dify {running or 'unknown'}, "
        f"{len(on)}/{total} seams hooked so far, exporter {exporter}, content {sdk.settings.content_mode}\n"
    )
    sys.stderr.flush()


def _adopt(sdk: Sdk, provider: TracerProvider) -> None:
    """`ENABLE_OTEL=true`: Dify's provider, exporter, sampling and resource hold for our spans too."""
    from opentelemetry import metrics as otel_metrics

    sdk.adopted = True
    sdk.tracer_provider = provider
    sdk.meter_provider = otel_metrics.get_meter_provider()
    sampler = getattr(provider, "sampler", None)
    if sampler is not None and "0.1" in sampler.get_description():
        _log().warning("ENABLE_OTEL is on with Dify's default sampling of 0.1: nine of ten traces are not recorded")


def _own(sdk: Sdk) -> None:
    settings = sdk.settings
    resource = _resource(sdk)
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    exporter = _span_exporter(settings)
    if exporter is not None:
        sdk.spans = _Spans(exporter)
        size = None if os.environ.get("OTEL_BSP_MAX_EXPORT_BATCH_SIZE") else BATCH
        with contextlib.suppress(ValueError):
            queue = int(os.environ.get("OTEL_BSP_MAX_QUEUE_SIZE", "2048"))
            size = min(size, queue) if size is not None else None
        processor = BatchSpanProcessor(sdk.spans, max_export_batch_size=size)
        provider.add_span_processor(_Queue(processor, sdk.spans))
    sdk.tracer_provider = provider
    sdk.meter_provider = _meter_provider(settings, resource)
    sdk.logger_provider = _logger_provider(settings, resource)


def _resource(sdk: Sdk) -> Resource:
    facts: dict[str, Any] = {
        "service.name": _ROLE_SERVICES.get(sdk.role, "dify-api"),
        "service.namespace": "dify",
        "service.instance.id": str(uuid.uuid4()),
        "process.pid": os.getpid(),
        "host.name": socket.gethostname(),
        "telemetry.distro.name": "dify-otel",
        "telemetry.distro.version": __version__,
    }
    version = release.running()
    if version:
        facts["service.version"] = version
    deployment = "-".join(v for v in (os.environ.get("DEPLOY_ENV"), os.environ.get("EDITION")) if v)
    if deployment:
        facts["deployment.environment.name"] = facts["deployment.environment"] = deployment
    container = _container_id()
    if container:
        facts["container.id"] = container
    for name, key in (
        ("POD_NAME", "k8s.pod.name"),
        ("POD_NAMESPACE", "k8s.namespace.name"),
        ("NODE_NAME", "k8s.node.name"),
    ):
        if os.environ.get(name):
            facts[key] = os.environ[name]
    # Resource.create lets OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME of the environment add; ours fill the rest.
    created = Resource.create()
    known = {
        k: v for k, v in created.attributes.items() if k != "service.name" or not str(v).startswith("unknown_service")
    }
    return Resource({**facts, **known}, created.schema_url)


def _container_id() -> str | None:
    try:
        with open("/proc/self/mountinfo", encoding="ascii", errors="replace") as lines:
            for line in lines:
                parts = line.split("/containers/", 1)
                if len(parts) == 2 and len(parts[1]) > 64 and parts[1][64] == "/":
                    return parts[1][:64]
    except OSError:
        return None
    return None


def _span_exporter(settings: Settings) -> SpanExporter | None:
    if settings.traces_exporter == "none":
        return None
    if settings.traces_exporter == "console":
        return ConsoleSpanExporter()
    if _protocol(settings, "TRACES") == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter

        return GrpcExporter()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter

    return HttpExporter()


def _meter_provider(settings: Settings, resource: Resource) -> Any:
    kind = os.environ.get("OTEL_METRICS_EXPORTER", settings.metrics_exporter)
    if "none" in (kind, settings.metrics_exporter):
        return None
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, MetricExporter, PeriodicExportingMetricReader

    exporter: MetricExporter
    if settings.metrics_exporter == "console":
        exporter = ConsoleMetricExporter()
    elif _protocol(settings, "METRICS") == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcExporter

        exporter = GrpcExporter()
    else:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpExporter

        exporter = HttpExporter()
    return MeterProvider([PeriodicExportingMetricReader(exporter)], resource=resource, shutdown_on_exit=False)


def _logger_provider(settings: Settings, resource: Resource) -> Any:
    kind = settings.logs_exporter
    if kind == "none" and not settings.emit_events:
        return None
    from dify_otel import logs

    exporter: Any
    if kind == "console":
        from opentelemetry.sdk._logs import export as sdk_export

        # ConsoleLogExporter until 1.36, ConsoleLogRecordExporter afterwards.
        exporter = getattr(sdk_export, "ConsoleLogRecordExporter", None) or sdk_export.ConsoleLogExporter
        return logs.provider(
            resource, exporter(), records=kind != "none", content=settings.content_mode != "NO_CONTENT"
        )
    if _protocol(settings, "LOGS") == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcExporter

        return logs.provider(
            resource, GrpcExporter(), records=kind != "none", content=settings.content_mode != "NO_CONTENT"
        )
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpExporter

    return logs.provider(
        resource, HttpExporter(), records=kind != "none", content=settings.content_mode != "NO_CONTENT"
    )
