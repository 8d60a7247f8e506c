"""Runs one generation tree under all seams, in a process of its own, and prints answers and spans as JSON.

`python instrumented_generation.py a|b|c bare|ours`
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "standin" / "generations"))
import exercise  # type: ignore[import-not-found]


def main(generation: str, how: str) -> None:
    exercise.enter(generation)
    spans: list[dict[str, Any]] = []
    exporter: Any = None
    if how == "ours":
        from dify_otel_instrumentors import seams
        from dify_otel_instrumentors.core import context, guard, hooks, rules, span
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        guard.loud(True)
        exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        hooks.apply(seams.SEAMS)
        span.configure(provider.get_tracer("test"), rules.Policy(content_on_spans=True, error_text=True))
        context.carry_into_threads()
    answers = exercise.everything()
    for made in exporter.get_finished_spans() if exporter else ():
        spans.append(
            {
                "name": made.name,
                "trace": made.context.trace_id,
                "id": made.context.span_id,
                "parent": made.parent.span_id if made.parent else None,
                "status": made.status.status_code.name,
                "attributes": dict(made.attributes),
            }
        )
    print(json.dumps({"answers": answers, "spans": spans}, default=str))


main(*sys.argv[1:3])
