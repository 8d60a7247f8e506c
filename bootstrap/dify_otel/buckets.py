"""Bucket limits of our histograms, for an SDK that does not take them from the instrument.

Up to 1.29 (Dify 1.6.0 to 1.13.3 have 1.27 and 1.28) there is no advisory parameter, and durations in seconds would fall
into buckets made for milliseconds: everything in the first one.
"""

from __future__ import annotations

import inspect
from typing import Any

from dify_otel_instrumentors.core.metrics import METRICS


def views() -> list[Any]:
    """Views for a `MeterProvider`; none where the SDK takes limits with the instrument."""
    from opentelemetry.metrics import Meter
    from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View

    if "explicit_bucket_boundaries_advisory" in inspect.signature(Meter.create_histogram).parameters:
        return []
    return [
        View(instrument_name=metric.name, aggregation=ExplicitBucketHistogramAggregation(metric.buckets))
        for metric in METRICS
        if metric.kind == "histogram"
    ]
