"""Switches and start of Dify's own OpenTelemetry."""

import os
import sys
from typing import Any

from celery.signals import worker_init
from opentelemetry import metrics, trace
from opentelemetry.propagate import set_global_textmap
from opentelemetry.propagators.b3 import B3MultiFormat
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from configs import dify_config


def setup_context_propagation() -> None:
    set_global_textmap(CompositePropagator([TraceContextTextMapPropagator(), B3MultiFormat()]))


def shutdown_tracer() -> None:
    for provider in (trace.get_tracer_provider(), metrics.get_meter_provider()):
        flush = getattr(provider, "force_flush", None)
        if flush is not None:
            flush()


def is_celery_worker() -> bool:
    return "celery" in sys.argv[0].lower()


@worker_init.connect(weak=False)
def init_celery_worker(*args: Any, **kwargs: Any) -> None:
    if dify_config.ENABLE_OTEL:
        from opentelemetry.instrumentation.celery import CeleryInstrumentor

        CeleryInstrumentor(
            tracer_provider=trace.get_tracer_provider(), meter_provider=metrics.get_meter_provider()
        ).instrument()


def is_instrument_flag_enabled() -> bool:
    return os.getenv("ENABLE_OTEL_FOR_INSTRUMENT", "").strip().lower() == "true"
