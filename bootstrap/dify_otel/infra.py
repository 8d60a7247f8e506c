"""Infrastructure spans: OpenTelemetry's own instrumentations for Flask, Celery, SQLAlchemy, Redis and HTTP clients,
and the noise policy that stands between them and the exporter.

The instrumentations are the well-kept ones of Dify's own image. They are given a tracer of ours instead of the SDK's:
it makes SQL and Redis spans only below a span of ours and only when slow or failed (the rest is rolled up), makes
no orphan roots, keeps content and secrets out of attributes, and lets the server span last as long as the stream.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from time import perf_counter, time_ns
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from dify_otel_instrumentors import plugin, shapes
from dify_otel_instrumentors.core import content, guard, metrics
from dify_otel_instrumentors.core.context import CALL
from dify_otel_instrumentors.core.span import end_time as clock
from opentelemetry import baggage, propagate, trace
from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import SpanKind, StatusCode

from dify_otel.propagation import Trusted, host_of

SERVER_SPAN = "dify_otel.server_span"
SERVER_TOKEN = "dify_otel.server_token"
ACTIVATION = "opentelemetry-flask.activation_key"
TOKEN = "opentelemetry-flask.token"

_SQL_TEXT = ("db.statement", "db.query.text")
_URLS = ("http.url", "url.full", "http.target")
_QUERIES = ("url.query",)
WAITING = ("BLPOP", "BRPOP", "BLMOVE", "BZPOPMIN", "XREAD", "XREADGROUP", "SUBSCRIBE", "PSUBSCRIBE")
"""Redis commands that are slow because they wait."""
_PUBLISHED = "dify_otel_published"

SLOW_MAX = 32
"""Slow statements of a kind that a request's outermost call shows as spans, in one process. Where everything is slow,
as on a machine that has too much to do, more of them would say nothing and cost what is short already."""

_NOTHING = trace.NonRecordingSpan(trace.INVALID_SPAN_CONTEXT)


class Rules:
    """The noise policy as this process has it."""

    trusted: Any = ()
    trust_incoming = True
    response_headers = "off"

    def __init__(
        self, infra_spans: str = "slow", slow_ms: float = 10.0, content: bool = False, limit: int = 8192
    ) -> None:
        self.infra_spans = infra_spans
        self.slow_seconds = slow_ms / 1000.0
        self.content = content
        self.limit = limit

    def attribute(self, key: str, value: Any) -> Any:
        """`value` as it may be recorded, None if it may not."""
        if key in _SQL_TEXT:
            return content.encode(value, self.limit) if self.content and isinstance(value, str) else None
        if key in _URLS and isinstance(value, str):
            return content.scrub(value) if self.content else without_query(value)
        if key in _QUERIES:
            return content.scrub(value) if self.content and isinstance(value, str) else None
        return value

    def attributes(self, attributes: Mapping[str, Any] | None) -> dict[str, Any]:
        out = {}
        for key, value in (attributes or {}).items():
            kept = self.attribute(key, value)
            if kept is not None:
                out[key] = kept
        return out


def without_query(url: str) -> str:
    """A URL or path without query, fragment and user information."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rsplit("@", 1)[-1]
        return urlunsplit((parts.scheme, host, parts.path, "", ""))
    except ValueError:
        return ""


def _parent(context: Any) -> tuple[Any, Any]:
    """The call of ours and the recording span around, if any."""
    context = context if context is not None else otel_context.get_current()
    call = context.get(CALL)
    span = trace.get_current_span(context)
    return call, span if span.is_recording() else None


_AROUND = otel_context.create_key("dify-otel-around")
"""While a stranger is asked: the context around, for what it would have told."""


def _take_back(headers: Any, around: Any = None) -> None:
    """A redirect copies the headers that were meant for the first host: what is ours of them is for no stranger."""
    try:
        around = otel_context.get_value(_AROUND) if around is None else around
        if around is None:
            return
        ours: dict[str, str] = {}
        propagate.inject(ours, context=around)
        for name, value in ours.items():
            said = headers.get(name)
            # The spans of one trace differ, the trace is ours.
            if said is not None and (said == value or (name == "traceparent" and said[3:35] == value[3:35])):
                del headers[name]
    except Exception:
        guard.failed("infra.take_back")


_SPAN_METHODS: Mapping[str, Any] = {
    **dict.fromkeys(("set_attribute", "set_attributes", "add_event", "update_name", "set_status", "record_exception")),
    "end": None,
    "get_span_context": trace.INVALID_SPAN_CONTEXT,
    "is_recording": False,
}
"""What the instrumentations call on a span, in the middle of Dify's own call, and the answer when we fail."""


def _sound(kind: Any) -> Any:
    """A span class whose methods do not raise: the instrumentations let it through to whoever asked the database."""

    def guarded(name: str, method: Any, otherwise: Any) -> Any:
        @functools.wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return method(*args, **kwargs)
            except Exception:
                guard.failed(f"infra.span.{name}")
                return otherwise

        return call

    for name, method in list(vars(kind).items()):
        if name in _SPAN_METHODS:
            setattr(kind, name, guarded(name, method, _SPAN_METHODS[name]))
        elif isinstance(method, property):
            setattr(kind, name, property(guarded(name, method.fget, None)))
    return kind


def _attach(context: Any) -> Any:
    """A token for `_detach`; None when there is nothing to detach. Never raises."""
    try:
        return otel_context.attach(context)
    except Exception:
        guard.failed("infra.attach")
        return None


def _detach(token: Any) -> None:
    try:
        if token is not None:
            otel_context.detach(token)
    except Exception:
        guard.failed("infra.detach")


@_sound
class _Wrapped(trace.Span):
    """A span that passes everything on, its attributes through the rules."""

    def __init__(self, rules: Rules, span: trace.Span) -> None:
        self._rules = rules
        self._span = span
        self._began = perf_counter()

    def get_span_context(self) -> trace.SpanContext:
        return self._span.get_span_context()

    def is_recording(self) -> bool:
        return self._span.is_recording()

    def set_attribute(self, key: str, value: Any) -> None:
        value = self._rules.attribute(key, value)
        if value is not None:
            self._span.set_attribute(key, value)

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        self._span.set_attributes(self._rules.attributes(attributes))

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        if name != "exception" or self._rules.content:
            self._span.add_event(name, attributes, timestamp)
        else:
            self._span.add_event(name, {"exception.type": str((attributes or {}).get("exception.type", ""))}, timestamp)

    def update_name(self, name: str) -> None:
        self._span.update_name(name)

    def set_status(self, status: Any, description: str | None = None) -> None:
        code = getattr(status, "status_code", status)
        text = getattr(status, "description", None) or description
        self._span.set_status(code, text if self._rules.content and code is StatusCode.ERROR else None)

    def record_exception(
        self, exception: BaseException, attributes: Any = None, timestamp: int | None = None, escaped: bool = False
    ) -> None:
        kind = type(exception).__qualname__
        self._span.set_attribute("error.type", kind)
        if self._rules.content:
            with contextlib.suppress(Exception):
                text = content.encode(str(exception), 1024)
                self._span.add_event("exception", {"exception.type": kind, "exception.message": text}, timestamp)
                return
        self._span.add_event("exception", {"exception.type": kind}, timestamp)

    def end(self, end_time: int | None = None) -> None:
        self._span.end(end_time if end_time is not None else clock(self._span, self._began))

    @property
    def kind(self) -> Any:
        return getattr(self._span, "kind", None)

    @property
    def name(self) -> str:
        return str(getattr(self._span, "name", ""))

    @property
    def attributes(self) -> Any:
        return getattr(self._span, "attributes", None)


@_sound
class ServerSpan(_Wrapped):
    """An HTTP server span: Flask's teardown ends it, the last byte of the response does so really."""

    released = False

    def end(self, end_time: int | None = None) -> None:
        if self.released:
            super().end(end_time)

    def release(self) -> None:
        self.released = True
        super().end()


@_sound
class Deferred(trace.Span):
    """A span that may never come to be: made at its end if it was slow or failed, or when something below claims it."""

    def __init__(
        self, tracer: trace.Tracer, rules: Rules, name: str, kind: SpanKind, context: Any, attributes: Any, links: Any
    ) -> None:
        self._tracer = tracer
        self._rules = rules
        self.name = name
        self.kind = kind
        self._context = context if context is not None else otel_context.get_current()
        self.attributes: dict[str, Any] = rules.attributes(attributes)
        self._links = links
        self._start = time_ns()
        self._began = perf_counter()
        self._real: trace.Span | None = None
        self._failed: str | None = None

    def claim(self) -> None:
        """Something of ours happens below: the span is needed now."""
        if self._real is None:
            self._real = self._tracer.start_span(
                self.name,
                context=self._context,
                kind=self.kind,
                attributes=self.attributes,
                links=self._links,
                start_time=self._start,
            )

    def get_span_context(self) -> trace.SpanContext:
        return self._real.get_span_context() if self._real is not None else trace.INVALID_SPAN_CONTEXT

    def is_recording(self) -> bool:
        return True

    def set_attribute(self, key: str, value: Any) -> None:
        value = self._rules.attribute(key, value)
        if value is None:
            return
        self.attributes[key] = value
        if self._real is not None:
            self._real.set_attribute(key, value)

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        for key, value in attributes.items():
            self.set_attribute(key, value)

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        return None

    def update_name(self, name: str) -> None:
        self.name = name
        if self._real is not None:
            self._real.update_name(name)

    def set_status(self, status: Any, description: str | None = None) -> None:
        if getattr(status, "status_code", status) is StatusCode.ERROR:
            self._failed = self._failed or "_OTHER"

    def record_exception(
        self, exception: BaseException, attributes: Any = None, timestamp: int | None = None, escaped: bool = False
    ) -> None:
        self._failed = type(exception).__qualname__

    def end(self, end_time: int | None = None) -> None:
        self.finish(False)

    def finish(self, wanted: bool) -> None:
        if self._real is None and not (wanted or self._failed):
            return
        self.claim()
        real = self._real
        if real is not None:
            if self._failed:
                real.set_attribute("error.type", self._failed)
                real.set_status(StatusCode.ERROR)
            real.end(self._over(real))

    def _over(self, real: trace.Span) -> int | None:
        return clock(real, self._began)


@_sound
class _Statement(Deferred):
    """A SQL statement or Redis command: rolled up always, a span when slow, failed or asked for."""

    def __init__(self, io: str, call: Any, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._io = io
        self._call = call
        self._done = False

    def end(self, end_time: int | None = None) -> None:
        if self._done:
            return
        self._done = True
        seconds = perf_counter() - self._began
        mode = self._rules.infra_spans
        slow = seconds >= self._rules.slow_seconds and self.name != "connect" and not self.name.startswith(WAITING)
        seen = self._call.io(self._io, seconds, self._failed is not None, slow) if self._call is not None else 0
        if mode == "off":
            return
        self.finish(mode == "all" or (slow and seen <= SLOW_MAX))


TOLD: ContextVar[tuple[int, int, str | None] | None] = ContextVar("dify-otel-told", default=None)
"""A statement that is over while an instrumentation describes it: begin and end in ns, the class of its error."""


@_sound
class _Told(Deferred):
    """A SQL statement or Redis command that is over, and shown."""

    def __init__(self, told: tuple[int, int, str | None], *arguments: Any) -> None:
        super().__init__(*arguments)
        self._start, self._ended, self._failed = told

    def end(self, end_time: int | None = None) -> None:
        self.finish(True)

    def _over(self, real: trace.Span) -> int:
        return self._ended


class GatedTracer(trace.Tracer):
    """The tracer an instrumentation is given. `io` names what it does: sql, redis, http, server or celery."""

    def __init__(self, tracer: trace.Tracer, rules: Rules, io: str) -> None:
        self._tracer = tracer
        self._rules = rules
        self._io = io

    def start_span(
        self,
        name: str,
        context: Any = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Any = None,
        links: Any = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> trace.Span:
        try:
            return self._start(name, context, kind, attributes, links, start_time)
        except Exception:
            guard.failed(f"infra.{self._io}")
            return _NOTHING

    def _start(
        self, name: str, context: Any, kind: SpanKind, attributes: Any, links: Any, start_time: Any
    ) -> trace.Span:
        io = self._io
        if io == "server":
            if not self._rules.trust_incoming and not _from_the_cluster(attributes):
                caller = trace.get_current_span(context).get_span_context()
                links = [trace.Link(caller)] if caller.is_valid else links
                context = Context()
            span = self._tracer.start_span(name, context, kind, self._rules.attributes(attributes), links, start_time)
            return ServerSpan(self._rules, span) if span.is_recording() else span
        call, around = _parent(context)
        if io == "celery" and kind is SpanKind.CONSUMER:
            if trace.get_current_span(context).get_span_context().is_valid:
                span = self._tracer.start_span(name, context, kind, self._rules.attributes(attributes), links)
                return _Wrapped(self._rules, span) if span.is_recording() else span
            # Nobody asked for this task: it becomes a trace if something of ours happens in it.
            return Deferred(self._tracer, self._rules, name, kind, context, attributes, links)
        if call is None and around is None:
            return _NOTHING
        if isinstance(around, Deferred) and call is None:
            return _NOTHING
        if io in ("sql", "redis"):
            if call is not None and not call.span.is_recording():
                return _NOTHING
            told = TOLD.get()
            if told is not None:
                return _Told(told, self._tracer, self._rules, name, kind, context, attributes, links)
            return _Statement(io, call, self._tracer, self._rules, name, kind, context, attributes, links)
        span = self._tracer.start_span(name, context, kind, self._rules.attributes(attributes), links, start_time)
        return _HttpSpan(self._rules, span, call) if io == "http" else _Wrapped(self._rules, span)

    @contextlib.contextmanager
    def start_as_current_span(  # type: ignore[override]
        self, name: str, context: Any = None, *args: Any, **kwargs: Any
    ) -> Iterator[trace.Span]:
        kwargs.pop("end_on_exit", None)
        span = self.start_span(name, context, *args, **kwargs)
        token = self._current(span, kwargs.get("attributes"))
        try:
            yield span
        except Exception as error:
            span.record_exception(error)
            span.set_status(StatusCode.ERROR)
            raise
        finally:
            _detach(token)
            span.end()

    def _current(self, span: trace.Span, attributes: Mapping[str, Any] | None) -> Any:
        """Make the span current, or for strangers none at all: a token for `_detach`. Never raises."""
        trusted = self._io != "http"
        try:
            trusted = trusted or self._trusts(attributes)
        except Exception:
            guard.failed("infra.trusts")
        try:
            if not trusted:
                # The instrumentation writes the current span and baggage into the request's headers, also of a request
                # that is not recorded: there is none for strangers.
                nobody = baggage.clear(trace.set_span_in_context(trace.INVALID_SPAN))
                return otel_context.attach(otel_context.set_value(_AROUND, otel_context.get_current(), nobody))
            if span is not _NOTHING and not isinstance(span, (_Statement, _Told)):  # nothing happens below a statement
                return otel_context.attach(trace.set_span_in_context(span))
        except Exception:
            guard.failed("infra.attach")
        return None

    def _trusts(self, attributes: Mapping[str, Any] | None) -> bool:
        attributes = attributes or {}
        return (attributes.get("url.full") or attributes.get("http.url") or "") in self._rules.trusted


def _from_the_cluster(attributes: Mapping[str, Any] | None) -> bool:
    """The plugin daemon and the agent backend call back on Dify's inner API, which needs a key of its own."""
    attributes = attributes or {}
    path = attributes.get("url.path") or attributes.get("http.target") or ""
    return str(path).startswith("/inner/api/")


@_sound
class _HttpSpan(_Wrapped):
    def __init__(self, rules: Rules, span: trace.Span, call: Any) -> None:
        super().__init__(rules, span)
        self._call = call

    def end(self, end_time: int | None = None) -> None:
        if self._call is not None:
            self._call.io("http", perf_counter() - self._began)
        super().end(end_time)


class GatedProvider(trace.TracerProvider):
    """A tracer provider for one instrumentation."""

    def __init__(self, provider: trace.TracerProvider, rules: Rules, io: str) -> None:
        self._provider = provider
        self._rules = rules
        self._io = io

    def get_tracer(self, instrumenting_module_name: str, *args: Any, **kwargs: Any) -> trace.Tracer:
        return GatedTracer(self._provider.get_tracer(instrumenting_module_name, *args, **kwargs), self._rules, self._io)


# --- starting


def start(sdk: Any, app: Any) -> None:
    """Start the instrumentations that exist in this environment and are not running already."""
    settings = sdk.settings
    if sdk.adopted:  # Dify has started its own, on the same provider
        if sdk.role == "api" and app is not None and settings.response_headers != "off":
            app.wsgi_app = ServerResponses(app.wsgi_app, settings.response_headers)
        return
    rules = Rules(settings.infra_spans, settings.infra_slow_ms, settings.content_on_spans, settings.content_max_length)
    rules.trusted = Trusted(os.environ, settings.propagate_to)
    rules.trust_incoming = settings.trust_incoming
    rules.response_headers = settings.response_headers

    def provider(io: str) -> GatedProvider:
        return GatedProvider(sdk.tracer_provider, rules, io)

    meters = sdk.meter_provider or NoOpMeterProvider()
    starts: list[tuple[str, Any]] = [
        ("celery", lambda: _celery(provider("celery"), meters)),
        ("sqlalchemy", lambda: _sqlalchemy(provider("sql"), app, rules)),
        ("redis", lambda: _redis(provider("redis"), rules)),
        (
            "httpx",
            lambda: _http_client("opentelemetry.instrumentation.httpx", "HTTPXClientInstrumentor", provider("http")),
        ),
        (
            "requests",
            lambda: _requests(provider("http"), rules),
        ),
    ]
    if sdk.role == "api" and app is not None:
        starts.append(("flask", lambda: _flask(app, provider("server"), meters, rules)))
    for name, begin in starts:
        try:
            begin()
        except ImportError:
            if name in _PLAIN_CLIENTS:
                _plain_client(name, sdk.tracer_provider, rules)
        except Exception:
            guard.failed(f"infra.{name}")


_PLAIN_CLIENTS = {"httpx": ("httpx", "HTTPTransport", "handle_request"), "requests": ("requests", "Session", "send")}
"""HTTP clients whose instrumentation old images lack (requests to 1.7.1, httpx to 1.9.1), and their one way out."""


def _plain_client(name: str, provider: Any, rules: Rules) -> None:
    """A client span and the trace headers, where the image has no instrumentation for this client."""
    import importlib

    from opentelemetry.propagate import inject

    module, kind, method = _PLAIN_CLIENTS[name]
    try:
        owner = getattr(importlib.import_module(module), kind)
        original = getattr(owner, method)
    except (ImportError, AttributeError):
        return
    if hasattr(original, "__dify_otel__"):
        return
    tracer = GatedTracer(provider.get_tracer(f"dify-otel.{name}"), rules, "http")

    @functools.wraps(original)
    def send(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            call, around = _parent(None)
            url, verb = str(getattr(request, "url", "")), str(getattr(request, "method", "")).upper()
        except Exception:
            guard.failed(f"infra.{name}")
            call = around = None
        if call is None and around is None:
            return original(self, request, *args, **kwargs)
        with tracer.start_as_current_span(
            verb, kind=SpanKind.CLIENT, attributes={"http.method": verb, "http.url": url}
        ) as span:
            try:
                inject(request.headers)
                _of_the_daemon(span, request)
            except Exception:
                guard.failed("infra.inject")
            response = original(self, request, *args, **kwargs)
            status = getattr(response, "status_code", None)
            if isinstance(status, int):
                span.set_attribute("http.status_code", status)
                if status >= 400:
                    span.set_status(StatusCode.ERROR)
            return response

    send.__dify_otel__ = original  # type: ignore[attr-defined]
    setattr(owner, method, send)


def _instrumentor(module: str, name: str) -> Any:
    """An instrumentor that is not in use yet, else None."""
    import importlib

    instrumentor = getattr(importlib.import_module(module), name)()
    return None if instrumentor.is_instrumented_by_opentelemetry else instrumentor


def _celery(provider: GatedProvider, meters: Any) -> None:
    instrumentor = _instrumentor("opentelemetry.instrumentation.celery", "CeleryInstrumentor")
    if instrumentor is not None:
        instrumentor.instrument(tracer_provider=provider, meter_provider=meters, skip_dep_check=True)
        from opentelemetry.instrumentation import celery as instrumentation

        vars(instrumentation)["context_api"] = _ContextApi()
    from celery.signals import before_task_publish, task_prerun

    before_task_publish.connect(_published, weak=False)
    task_prerun.connect(_taken, weak=False)


class _ContextApi:
    """OpenTelemetry's `context` for its Celery instrumentation, which in 0.48b0 detaches what it never attached.

    A task that beat sends brings no context: Dify's log had an error with a traceback for each (contrib #2927).
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(otel_context, name)

    @staticmethod
    def detach(token: Any) -> None:
        if token is not None:
            otel_context.detach(token)


def _published(headers: Any = None, **_: Any) -> None:
    try:
        if isinstance(headers, dict):
            headers[_PUBLISHED] = str(time_ns())
    except Exception:
        guard.failed("infra.published")


def _taken(task: Any = None, **_: Any) -> None:
    """How long the task waited: clocks of two machines, so never negative and only told, not trusted."""
    try:
        published = getattr(getattr(task, "request", None), _PUBLISHED, None)
        if published is None:
            return
        waited = max(0.0, (time_ns() - int(published)) / 1e9)
        info = getattr(task.request, "delivery_info", None) or {}
        queue = info.get("routing_key")
        span = trace.get_current_span()
        if span.is_recording():
            span.set_attribute("dify.queue.wait_time", round(waited, 6))
        metrics.record("dify.celery.queue.wait.duration", waited, {"dify.queue": queue})
    except Exception:
        guard.failed("infra.taken")


def _sqlalchemy(provider: GatedProvider, app: Any, rules: Rules) -> None:
    instrumentor = _instrumentor("opentelemetry.instrumentation.sqlalchemy", "SQLAlchemyInstrumentor")
    if instrumentor is None:
        return
    engines: list[Any] = []
    extension = getattr(app, "extensions", {}).get("sqlalchemy") if app is not None else None
    if extension is not None:
        with app.app_context():
            engines = list(extension.engines.values())
    # Without its pool metrics: four points a checkout, more than the statement's span costs.
    instrumentor.instrument(
        tracer_provider=provider, meter_provider=NoOpMeterProvider(), engines=engines, skip_dep_check=True
    )
    if rules.infra_spans == "all":
        return
    from opentelemetry.instrumentation.sqlalchemy.engine import EngineTracer
    from sqlalchemy.engine.base import Engine

    from dify_otel import statements

    for engine in engines:
        statements.time_engine(engine, EngineTracer._remove_event_listener_params, rules)
    # Getting a connection is counted, and no statement: it is shown when it fails.
    statements.time_calls(Engine, "connect", rules, "sql", lambda args: True)


def _redis(provider: GatedProvider, rules: Rules) -> None:
    instrumentor = _instrumentor("opentelemetry.instrumentation.redis", "RedisInstrumentor")
    if instrumentor is None:
        return
    instrumentor.instrument(tracer_provider=provider, skip_dep_check=True)
    if rules.infra_spans == "all":
        return
    import redis

    from dify_otel import statements

    for client in (redis.Redis, getattr(redis, "RedisCluster", None)):
        if client is not None:
            statements.time_commands(client, rules)


def _http_client(module: str, name: str, provider: GatedProvider) -> None:
    instrumentor = _instrumentor(module, name)
    if instrumentor is not None:
        instrumentor.instrument(
            tracer_provider=provider,
            meter_provider=NoOpMeterProvider(),
            skip_dep_check=True,
            request_hook=_asks,
        )


_DAEMON = host_of(os.environ.get("PLUGIN_DAEMON_URL", ""))


def _asks(span: Any, request: Any) -> None:
    """Any HTTP client's request, as it is about to leave."""
    try:
        _take_back(request.headers)
        _of_the_daemon(span, request)
    except Exception:
        guard.failed("infra.daemon")


def _of_the_daemon(span: Any, request: Any) -> None:
    """A call of the plugin daemon: its address holds a tenant, so it is named by what is asked of it."""
    url = str(request.url)
    if not _DAEMON or host_of(url) != _DAEMON or not span.is_recording():
        return
    path = urlsplit(url).path
    asked = plugin.action(path.lstrip("/"))
    if asked is None:
        return
    method = request.method
    verb = method.decode() if isinstance(method, bytes) else str(method)
    template = f"/plugin/{{tenant_id}}/{'dispatch/' if '/dispatch/' in path else ''}{asked}"
    span.update_name(f"{verb.upper()} {template}")
    span.set_attribute("url.template", template)
    span.set_attribute("dify.plugin.action", asked)
    name = shapes.word(request.headers.get("X-Plugin-ID"))
    if name:
        span.set_attribute("dify.plugin.name", name[:256])


def _requests(provider: GatedProvider, rules: Rules) -> None:
    _http_client("opentelemetry.instrumentation.requests", "RequestsInstrumentor", provider)
    # It does not look at the requests that redirects lead to; this is where requests itself takes back a password.
    import requests

    original = requests.Session.rebuild_auth
    if hasattr(original, "__dify_otel__"):
        return

    @functools.wraps(original)
    def rebuild_auth(self: Any, prepared_request: Any, response: Any) -> Any:
        result = original(self, prepared_request, response)
        try:
            if str(prepared_request.url) not in rules.trusted:
                _take_back(prepared_request.headers, otel_context.get_current())
        except Exception:
            guard.failed("infra.redirect")
        return result

    rebuild_auth.__dify_otel__ = original  # type: ignore[attr-defined]
    requests.Session.rebuild_auth = rebuild_auth  # type: ignore[method-assign]


def _flask(app: Any, provider: GatedProvider, meters: Any, rules: Rules) -> None:
    from opentelemetry.instrumentation.flask import FlaskInstrumentor

    if getattr(app, "_is_instrumented_by_opentelemetry", False):
        return
    excluded = (
        os.environ.get("OTEL_PYTHON_FLASK_EXCLUDED_URLS") or os.environ.get("OTEL_PYTHON_EXCLUDED_URLS") or "/health$"
    )
    instrumentor: Any = FlaskInstrumentor()
    instrumentor.instrument_app(
        app, tracer_provider=provider, meter_provider=meters, enable_commenter=False, excluded_urls=excluded
    )
    app.before_request(functools.partial(_take_over, rules))
    app.wsgi_app = ServerResponses(app.wsgi_app, rules.response_headers)


def _take_over(rules: Rules) -> None:
    """Right after the instrumentation made the server span current: take it over, so that its teardown finds nothing.

    Its teardown runs in whatever context Flask tears a request down, once more for each copied request context, and
    before a stream has begun (Flask 3.1.2 and later): detaching there logs `Failed to detach context`.
    """
    try:
        import flask

        environ = flask.request.environ
        activation = environ.pop(ACTIVATION, None)
        if activation is None:
            return
        span = trace.get_current_span()
        activation.__exit__(None, None, None)
        token = environ.pop(TOKEN, None)
        remote = otel_context.get_current()
        if not rules.trust_incoming and not _from_the_cluster({"url.path": environ.get("PATH_INFO")}):
            remote = baggage.clear(remote)
        environ[SERVER_SPAN] = span
        environ[SERVER_TOKEN] = otel_context.attach(trace.set_span_in_context(span, remote))
        if token is not None:
            environ[TOKEN + ".remote"] = token
    except Exception:
        guard.failed("infra.take_over")


class ServerResponses:
    """WSGI middleware around Flask: the server span ends with the last byte of the response."""

    def __init__(self, wsgi_app: Any, response_headers: str = "off") -> None:
        self._wsgi_app = wsgi_app
        self._response_headers = response_headers

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if self._response_headers != "off":
            start_response = self._leading_back(environ, start_response)
        try:
            response = self._wsgi_app(environ, start_response)
        except BaseException:
            self._leave(environ)
            self._release(environ)
            raise
        self._leave(environ)
        span = environ.get(SERVER_SPAN)
        if span is None:
            return response
        wrapper = environ.get("wsgi.file_wrapper")
        if isinstance(wrapper, type) and isinstance(response, wrapper):
            self._release(environ)  # the server hands the file to the kernel: nothing of it passes here
            return response
        try:
            return _Body(response, span)
        except Exception:
            guard.failed("infra.body")
            self._release(environ)
            return response

    def _leading_back(self, environ: dict[str, Any], start_response: Any) -> Any:
        """`start_response` with the headers that lead from the answer to its trace."""

        def respond(status: str, headers: list[tuple[str, str]], *args: Any, **kwargs: Any) -> Any:
            try:
                span = environ.get(SERVER_SPAN) or trace.get_current_span()
                context = span.get_span_context()
                if context.is_valid:
                    value = f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
                    if self._response_headers in ("traceparent", "both"):
                        headers = [*headers, ("traceparent", value)]
                        if any(name.lower() == "access-control-allow-origin" for name, _ in headers):
                            # A page of another origin (Dify's console, an embedded chat) may not read it otherwise.
                            headers = [*headers, ("Access-Control-Expose-Headers", "traceparent")]
                    if self._response_headers in ("server-timing", "both"):
                        headers = [*headers, ("Server-Timing", f'traceparent;desc="{value}"')]
            except Exception:
                guard.failed("infra.response_headers")
            return start_response(status, headers, *args, **kwargs)

        return respond

    @staticmethod
    def _leave(environ: dict[str, Any]) -> None:
        for name in (SERVER_TOKEN, TOKEN + ".remote"):
            _detach(environ.pop(name, None))

    @staticmethod
    def _release(environ: dict[str, Any]) -> None:
        span = environ.pop(SERVER_SPAN, None)
        if isinstance(span, ServerSpan):
            try:
                span.release()
            except Exception:
                guard.failed("infra.release")


class _Body:
    """A response's body: passes every piece on, and ends the server span with the last one or when it is closed."""

    def __init__(self, body: Any, span: Any) -> None:
        self._body = body
        self._iterator: Any = None
        self._span = span
        self._context = trace.set_span_in_context(span)

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        if self._iterator is None:
            self._iterator = iter(self._body)
        token = _attach(self._context)
        try:
            return next(self._iterator)
        except BaseException:
            self._end()
            raise
        finally:
            _detach(token)

    def close(self) -> None:
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                token = _attach(self._context)
                try:
                    close()
                finally:
                    _detach(token)
        finally:
            self._end()

    def __del__(self) -> None:
        self._end()

    def _end(self) -> None:
        span, self._span = getattr(self, "_span", None), None
        if isinstance(span, ServerSpan):
            try:
                span.release()
            except Exception:
                guard.failed("infra.release")
