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
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from dify_otel_instrumentors import release
from dify_otel_instrumentors.core import collected, guard, hooks, metrics, semconv, span
from dify_otel_instrumentors.core import context as call_context
from dify_otel_instrumentors.core.rules import Policy
from dify_otel_instrumentors.seams import SEAMS
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter, SpanExportResult

from dify_otel import __version__, buckets, forks, notice, quiet, standard, status
from dify_otel.settings import Settings

SCOPE = "dify-otel"
BATCH = 128
"""Spans a batch unless OTEL_BSP_MAX_EXPORT_BATCH_SIZE says otherwise: encoding one holds up a gevent process."""
_LOOK_AGAIN = 0.01
"""Seconds between two looks at the queue of a process that ends."""

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
        self.queue: _Queue | None = None
        self.status: status.Keeper | None = None
        self._wanted, self._done = threading.Event(), threading.Event()
        self._standing_by = 0

    def stand_by(self) -> None:
        """Start the thread that `flush` waits for: an interpreter that is ending starts none (Python 3.12)."""
        self._wanted, self._done = threading.Event(), threading.Event()
        self._standing_by = os.getpid()
        threading.Thread(target=self._stand_by, name="dify-otel-flush", daemon=True).start()

    def _stand_by(self) -> None:
        wanted, done = self._wanted, self._done
        while True:
            wanted.wait()
            wanted.clear()
            self._flush()
            done.set()

    def flush(self) -> None:
        """Send what is queued, within `flush_seconds`, whatever the backend does. Never raises."""
        try:
            if self._standing_by != os.getpid():
                self.stand_by()
            self._done.clear()
            self._wanted.set()
            self._done.wait(self.settings.flush_seconds)
        except RuntimeError:
            return  # a forked copy that is ending already: nothing of it can be sent within a bound
        except Exception:
            guard.failed("sdk.flush")

    def end(self) -> None:
        """`flush` for a process that ends now, and a line about the spans that stay behind."""
        self.flush()
        left = self.queue.left() if self.queue is not None and os.getpid() == self.pid else 0
        if left:
            notice.line(f"dify-otel: {left} spans were not sent before the process ended")

    def _flush(self) -> None:
        collected.catch_up()
        providers: tuple[Any, ...] = (self.tracer_provider, self.meter_provider, self.logger_provider)
        if os.getpid() != self.pid:
            # A forked copy: it has no more than the spans it made, and a thread to send them only if it made any.
            providers = (self.queue,) if self.queue is not None and self.queue.exporting() else ()
        for provider in providers:
            try:
                if provider is not None:
                    provider.force_flush(int(self.settings.flush_seconds * 1000))
            except Exception:
                guard.failed("sdk.flush")


class _Spans(SpanExporter):
    """Counts what an exporter made of the spans it was given."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.turn: Callable[[], None] = lambda: None
        self.account: Callable[[], None] = lambda: None
        self.taken = 0
        self.sending = 0
        self.exported = 0
        self.failed = 0
        self.dropped = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        self.taken += len(spans)
        self.sending = len(spans)
        self.account()
        try:
            result = self._exporter.export(spans)
        finally:
            self.sending = 0
            if result is SpanExportResult.SUCCESS:
                self.exported += len(spans)
                metrics.record("dify.otel.spans.exported", len(spans), {})
            else:
                self.failed += len(spans)
                metrics.record("dify.otel.spans.dropped", len(spans), {"reason": "export"})
            self.account()
            self.turn()
        return result

    def counts(self) -> dict[str, Any]:
        """What became of the spans so far."""
        return {"exported": self.exported, "dropped": {"queue": self.dropped, "export": self.failed}}

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return bool(self._exporter.force_flush(timeout_millis))


class _Queue(SpanProcessor):
    """The batch processor, with the spans it had no room for counted and one line a minute about them.

    They are what was put in, less what was taken out and what is still there: to look whether the queue is full before
    each span would miscount whenever another thread comes between.
    """

    def __init__(self, processor: BatchSpanProcessor, spans: _Spans, length: int | None = None) -> None:
        self._processor = processor
        self._spans = spans
        self._length = length
        self._said = -quiet.QUIET_SECONDS
        inner = getattr(processor, "_batch_processor", processor)
        # `queue` until 1.33, `_queue` afterwards; a bounded deque that forgets its oldest.
        queue = getattr(inner, "_queue", None)
        self._queue: Any = queue if queue is not None else getattr(inner, "queue", None)
        self._begin()
        spans.account = self.account

    def _begin(self) -> None:
        self._pid = os.getpid()
        # Reentrant: the garbage collector may end a dropped stream's span in here.
        self._counting = threading.RLock()
        self._ended = 0
        self._spans.taken = self._spans.dropped = 0

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        self._processor.on_start(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        if self._pid != os.getpid():  # a forked copy, whose queue the SDK empties now
            self._begin()
        self._processor.on_end(span)
        # Afterwards: a span that is counted but not in the queue yet would look like a lost one.
        with self._counting:
            self._ended += 1
        try:
            # The SDK's own limits: of the number of attributes, and of a value's length, which it keeps no count of.
            if span.dropped_attributes:
                metrics.record("dify.otel.spans.truncated", 1, {"reason": "attributes"})
            if self._length is not None and _reaches(span, self._length):
                metrics.record("dify.otel.spans.truncated", 1, {"reason": "length"})
        except Exception:
            guard.failed("sdk.truncated")

    def _lost(self) -> int:
        return self._ended - self._spans.taken - len(self._queue) - self._spans.dropped

    def account(self, lost: int | None = None) -> None:
        """Find out how many spans were lost for want of room, in the exporter's own turn. Never raises."""
        try:
            if self._queue is None or self._pid != os.getpid():
                return
            if lost is None:
                lost = self._lost()
            if lost <= 0:
                return
            self._spans.dropped += lost
            metrics.record("dify.otel.spans.dropped", lost, {"reason": "queue"})
            now = time.monotonic()
            if now - self._said >= quiet.QUIET_SECONDS:
                self._said = now
                _log().warning("the queue of spans was full: %d dropped so far", self._spans.dropped)
        except Exception:
            guard.failed("sdk.account")

    def shutdown(self) -> None:
        self._processor.shutdown()  # type: ignore[no-untyped-call]

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return bool(self._processor.force_flush(timeout_millis))

    def size(self) -> int | None:
        """Spans that wait in the queue; None where it cannot be seen, or is another process's."""
        return None if self._queue is None or self._pid != os.getpid() else len(self._queue)

    def left(self) -> int:
        """Spans that have not been sent or given up yet."""
        if self._queue is None:
            return self._spans.sending
        # From outside the exporter's turn: what it has just taken out is nowhere for a moment, so look twice.
        lost = self._lost()
        time.sleep(_LOOK_AGAIN)
        self.account(min(lost, self._lost()))
        return len(self._queue) + self._spans.sending

    def exporting(self) -> bool:
        """Whether its thread runs in this process, which may be a forked copy."""
        return forks.exporting(self._processor)


def _reaches(span: ReadableSpan, length: int) -> bool:
    """Whether a value is as long as the SDK lets it be."""
    return any(isinstance(v, str) and len(v) == length for v in (span.attributes or {}).values())


def _log() -> logging.Logger:
    return logging.getLogger("dify_otel")


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
    from dify_otel import completion, infra, logs

    sdk = Sdk(settings, role)
    logging.getLogger("dify_otel").setLevel(settings.log_level.upper())
    with standard.environment(settings):
        quiet.start()
        existing = trace.get_tracer_provider()
        if isinstance(existing, TracerProvider):
            _adopt(sdk, existing)
        else:
            with forks.nothing_registered():
                _own(sdk)
    policy = Policy(
        content_on_spans=settings.content_on_spans,
        content_on_events=settings.content_on_events,
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
        private=not sdk.adopted,
    )
    span.on_completion(completion.hook(settings.completion_hook))
    if sdk.meter_provider is not None:
        meter = sdk.meter_provider.get_meter(SCOPE, __version__, schema_url=semconv.SCHEMA_URL)
        gauges = not (sdk.adopted and buckets.gauges_break_exports())
        metrics.configure(meter, settings.metrics_app_labels, gauges=gauges)
        metrics.observe("dify.otel.queue.size", None if sdk.queue is None else sdk.queue.size)
    logs.mark_records()
    call_context.carry_into_threads()
    infra.start(sdk, app)
    _keep_status(sdk)
    sdk.stand_by()
    atexit.register(sdk.end)
    if role == "worker":
        from celery.signals import worker_process_shutdown

        worker_process_shutdown.connect(lambda **_: sdk.flush(), weak=False)
        # Celery's children leave without atexit.
        if sdk.status is not None:
            worker_process_shutdown.connect(lambda keeper=sdk.status, **_: keeper.end(), weak=False)
    _announce(sdk)
    return sdk


def _seams(running: str | None) -> tuple[int, int]:
    """How many seams are hooked so far, and of how many in that release."""
    from dify_otel import releases

    claimed = {s.name for s in SEAMS if running is None or releases.claims(s, running)}
    on = {name for name, found in hooks.outcomes.items() if any(o.state == "on" for o in found)}
    return len(on), len((claimed | on) & set(hooks.outcomes))


def _destination(sdk: Sdk) -> str:
    return "Dify's own" if sdk.adopted else f"{sdk.settings.traces_exporter} {sdk.settings.protocol}"


def _announce(sdk: Sdk) -> None:
    running = release.running()
    on, total = _seams(running)
    notice.line(
        f"dify-otel {__version__}: {sdk.role}, Dify {running or 'unknown'}, "
        f"{on}/{total} seams hooked so far, exporter {_destination(sdk)}, content {sdk.settings.content_mode}"
    )


def _keep_status(sdk: Sdk) -> None:
    """Begin the status file of this process."""
    from dify_otel.start import State

    running = release.running()

    def now() -> dict[str, Any]:
        on, total = _seams(running)
        return {"seams_on": on, "seams_total": total, "spans": sdk.spans.counts() if sdk.spans is not None else None}

    inner = getattr(getattr(sdk.spans, "_exporter", None), "_endpoint", "")
    facts = {
        "version": __version__,
        "role": sdk.role,
        "door": State.door,
        "dify": running or "unknown",
        "exporter": _destination(sdk),
        "endpoint": status.address(inner) if isinstance(inner, str) else "",
        "content": sdk.settings.content_mode,
    }
    sdk.status = status.Keeper(status.folder(sdk.settings.status_dir, os.environ), facts, now)
    if sdk.spans is not None:
        sdk.spans.turn = sdk.status.turn
    atexit.register(sdk.status.end)
    sdk.status.begin()


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
    exporter = _made("traces", lambda: _span_exporter(settings))
    records = _made("logs", lambda: _log_exporter(settings))
    forks.renew(e for e in (exporter, records) if e is not None)
    if exporter is not None:
        sdk.spans = _Spans(exporter)
        size = int(os.environ.get("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BATCH))
        room = int(os.environ.get("OTEL_BSP_MAX_QUEUE_SIZE", "2048"))
        processor = BatchSpanProcessor(sdk.spans, max_export_batch_size=min(size, room))
        sdk.queue = _Queue(processor, sdk.spans, SpanLimits().max_span_attribute_length)
        provider.add_span_processor(sdk.queue)
    sdk.tracer_provider = provider
    sdk.meter_provider = _made("metrics", lambda: _meter_provider(settings, resource))
    if records is not None:
        sdk.logger_provider = _made("logs", lambda: _logger_provider(settings, resource, records))


def _made(signal: str, make: Callable[[], Any]) -> Any:
    """What `make` gives; None when it raises: a signal that cannot be exported does not cost the others."""
    try:
        return make()
    except Exception:
        guard.failed(f"sdk.{signal}")
        return None


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
    return MeterProvider(
        [PeriodicExportingMetricReader(exporter)], resource=resource, shutdown_on_exit=False, views=buckets.views()
    )


def _log_exporter(settings: Settings) -> Any:
    kind = settings.logs_exporter
    if kind == "none" and not settings.emit_events:
        return None
    if kind == "console":
        from opentelemetry.sdk._logs import export as sdk_export

        # ConsoleLogExporter until 1.36, ConsoleLogRecordExporter afterwards.
        return (getattr(sdk_export, "ConsoleLogRecordExporter", None) or sdk_export.ConsoleLogExporter)()
    if _protocol(settings, "LOGS") == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcExporter

        return GrpcExporter()
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpExporter

    return HttpExporter()


def _logger_provider(settings: Settings, resource: Resource, exporter: Any) -> Any:
    from dify_otel import logs

    records, content = settings.logs_exporter != "none", settings.content_mode != "NO_CONTENT"
    return logs.provider(resource, exporter, records=records, content=content)
