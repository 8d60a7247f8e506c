"""Dify's own OpenTelemetry: global providers, B3 and W3C propagation, library instrumentations (ENABLE_OTEL)."""

import atexit
import os
import socket
from typing import Any

from configs import dify_config
from dify_app import DifyApp


def init_app(app: DifyApp) -> None:
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GRPCMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GRPCSpanExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HTTPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HTTPSpanExporter
    from opentelemetry.metrics import set_meter_provider
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
    from opentelemetry.trace import set_tracer_provider

    from extensions.otel.instrumentation import init_instruments
    from extensions.otel.runtime import setup_context_propagation, shutdown_tracer

    setup_context_propagation()
    resource = Resource(
        attributes={
            "service.name": dify_config.APPLICATION_NAME,
            "service.version": f"dify-{dify_config.project.version}-{dify_config.COMMIT_SHA}",
            "process.pid": os.getpid(),
            "deployment.environment.name": f"{dify_config.DEPLOY_ENV}-{dify_config.EDITION}",
            "host.name": socket.gethostname(),
        }
    )
    provider = TracerProvider(resource=resource, sampler=ParentBasedTraceIdRatio(dify_config.OTEL_SAMPLING_RATE))
    set_tracer_provider(provider)
    span_exporter: Any
    metric_exporter: Any
    if dify_config.OTEL_EXPORTER_TYPE != "otlp":
        span_exporter, metric_exporter = ConsoleSpanExporter(), ConsoleMetricExporter()
    elif dify_config.OTEL_EXPORTER_OTLP_PROTOCOL.lower() == "grpc":
        endpoint = dify_config.OTLP_BASE_ENDPOINT
        insecure = not endpoint.startswith("https://")
        headers = (("authorization", f"Bearer {dify_config.OTLP_API_KEY}"),) if dify_config.OTLP_API_KEY else ()
        span_exporter = GRPCSpanExporter(endpoint=endpoint, headers=headers, insecure=insecure)
        metric_exporter = GRPCMetricExporter(endpoint=endpoint, headers=headers, insecure=insecure)
    else:
        base = dify_config.OTLP_BASE_ENDPOINT
        http_headers = {"Authorization": f"Bearer {dify_config.OTLP_API_KEY}"} if dify_config.OTLP_API_KEY else None
        span_exporter = HTTPSpanExporter(
            endpoint=dify_config.OTLP_TRACE_ENDPOINT or base + "/v1/traces", headers=http_headers
        )
        metric_exporter = HTTPMetricExporter(
            endpoint=dify_config.OTLP_METRIC_ENDPOINT or base + "/v1/metrics", headers=http_headers
        )
    provider.add_span_processor(
        BatchSpanProcessor(
            span_exporter,
            max_queue_size=dify_config.OTEL_MAX_QUEUE_SIZE,
            schedule_delay_millis=dify_config.OTEL_BATCH_EXPORT_SCHEDULE_DELAY,
            max_export_batch_size=dify_config.OTEL_MAX_EXPORT_BATCH_SIZE,
            export_timeout_millis=dify_config.OTEL_BATCH_EXPORT_TIMEOUT,
        )
    )
    reader = PeriodicExportingMetricReader(
        metric_exporter,
        export_interval_millis=dify_config.OTEL_METRIC_EXPORT_INTERVAL,
        export_timeout_millis=dify_config.OTEL_METRIC_EXPORT_TIMEOUT,
    )
    set_meter_provider(MeterProvider(resource=resource, metric_readers=[reader]))
    init_instruments(app)
    atexit.register(shutdown_tracer)


def is_enabled() -> bool:
    return dify_config.ENABLE_OTEL
