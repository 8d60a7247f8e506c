"""The worked example of docs/architecture.md, taken from the page itself and run."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from dify_otel_instrumentors.core import hooks, rules, span
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

PAGE = Path(__file__).resolve().parents[2] / "docs" / "architecture.md"


@pytest.fixture
def spans() -> Any:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    span.configure(provider.get_tracer("test"), rules.Policy())
    yield exporter
    span.configure(None)
    hooks.undo()


def test_the_pages_example_makes_a_span(spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert code
    page: dict[str, Any] = {}
    exec(code.group(1), page)

    class Guide:
        def ask(self, session: object, city: str, question: str) -> str:
            return "it is lovely"

    module = ModuleType("core.example")
    module.Guide = Guide  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "core.example", module)
    hooks.apply([page["SEAM"]])

    assert Guide().ask(None, "Berlin", question="how is it?") == "it is lovely"

    (made,) = spans.get_finished_spans()
    assert made.name == "example Berlin"
    assert made.attributes is not None
    assert made.attributes["dify.example.words"] == 3
    assert "dify.example.question" not in made.attributes
