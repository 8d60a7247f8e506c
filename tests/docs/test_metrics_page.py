"""docs/metrics.md names the metrics that exist, with the labels that real processes were seen to give them."""

from __future__ import annotations

from pathlib import Path

from dify_otel_instrumentors.core.metrics import METRICS

from tests.process.test_metrics import WANTED

PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
KINDS = {"counter": "counter", "updown": "up-down counter", "gauge": "gauge", "histogram": "histogram"}


def rows() -> list[str]:
    """One row a metric."""
    found = []
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in WANTED[metric.name][2]) if metric.name in WANTED else ""
        found.append(f"| `{metric.name}` | {KINDS[metric.kind]} | `{metric.unit}` | {metric.description} | {labels} |")
    return found


def test_the_page_has_a_row_for_each_metric_and_no_other() -> None:
    told = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| `")]
    assert told == rows()
