"""What an SDK older than ours needs to be told about our instruments.

Up to 1.29 (Dify 1.6.0 to 1.13.3 have 1.27 and 1.28) there is no advisory parameter, and durations in seconds would fall
into buckets made for milliseconds: everything in the first one. 1.28 keeps an exemplar of every observation of a gauge,
which no span belongs to, and its exporter then fails to encode any metric of the process.
"""

from __future__ import annotations

import inspect
from typing import Any

from dify_otel_instrumentors.core.metrics import METRICS
from opentelemetry.sdk.version import __version__


def gauges_break_exports() -> bool:
    """Whether a gauge that is observed costs every metric of a provider that was made without our `views`."""
    return __version__.startswith("1.28.")


def views() -> list[Any]:
    """Views for a `MeterProvider`; none where the SDK takes limits with the instrument."""
    from opentelemetry.metrics import Meter
    from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View

    if "explicit_bucket_boundaries_advisory" in inspect.signature(Meter.create_histogram).parameters:
        return []
    found = [
        View(instrument_name=metric.name, aggregation=ExplicitBucketHistogramAggregation(metric.buckets))
        for metric in METRICS
        if metric.kind == "histogram"
    ]
    if gauges_break_exports():
        reservoir: Any = _no_exemplars
        found += [
            View(instrument_name=metric.name, exemplar_reservoir_factory=lambda _: reservoir)
            for metric in METRICS
            if metric.kind == "gauge"
        ]
    return found


def _no_exemplars(**_: Any) -> Any:
    from opentelemetry.sdk.metrics import SimpleFixedSizeExemplarReservoir

    return SimpleFixedSizeExemplarReservoir(size=0)
