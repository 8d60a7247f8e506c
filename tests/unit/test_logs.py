"""Log lines: trace ids in formats that ask for them or when asked to, in no other; events as conventions have them."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from dify_otel import logs
from opentelemetry import trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider

DIFYS_TEXT = "%(asctime)s.%(msecs)03d %(levelname)s [%(threadName)s] [%(filename)s:%(lineno)d] - %(message)s"


class JsonFormatter(logging.Formatter):
    """Puts its line together by itself, as Dify's does."""

    def format(self, record: logging.LogRecord) -> str:
        return f'{{"message": "{record.getMessage()}", "trace_id": "{record.otelTraceID}"}}'  # type: ignore[attr-defined]


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """`line(formatter, correlate)` logs one line inside a span and gives it with the span's ids."""
    root, made = logging.getLogger(), logging.getLogRecordFactory()
    handlers, level = root.handlers[:], root.level

    def log(formatter: logging.Formatter, correlate: str = "") -> tuple[str, str, str]:
        written = io.StringIO()
        handler = logging.StreamHandler(written)
        handler.setFormatter(formatter)
        root.handlers[:] = [handler]
        root.setLevel(logging.INFO)
        monkeypatch.setenv("OTEL_PYTHON_LOG_CORRELATION", correlate)
        logs.mark_records()
        with TracerProvider(shutdown_on_exit=False).get_tracer("t").start_as_current_span("s") as span:
            logging.getLogger("dify").info("hello")
        handler.handle(logging.makeLogRecord({"msg": "made elsewhere", "levelno": 20}))
        context = span.get_span_context()
        return written.getvalue(), f"{context.trace_id:032x}", f"{context.span_id:016x}"

    yield log
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.setLogRecordFactory(made)


def test_a_format_is_not_changed_unless_asked(line: Any) -> None:
    text, trace_id, _ = line(logging.Formatter(DIFYS_TEXT))
    assert text.splitlines()[0].endswith("- hello") and trace_id not in text


def test_asked_for_a_text_format_ends_with_the_ids(line: Any) -> None:
    text, trace_id, span_id = line(logging.Formatter(DIFYS_TEXT), "true")
    first, second = text.splitlines()
    assert first.endswith(f"- hello trace_id={trace_id} span_id={span_id}")
    assert second.endswith("made elsewhere trace_id=0 span_id=0")


def test_a_format_that_has_the_ids_keeps_its_own_place_for_them(line: Any) -> None:
    text, trace_id, _ = line(logging.Formatter("%(otelTraceID)s %(message)s"), "true")
    assert text.splitlines()[0] == f"{trace_id} hello"


def test_a_json_format_stays_json(line: Any) -> None:
    text, trace_id, _ = line(JsonFormatter(), "true")
    assert text.splitlines()[0] == f'{{"message": "hello", "trace_id": "{trace_id}"}}'


def test_an_event_has_the_severity_of_the_convention() -> None:
    exporter = InMemoryLogExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    logs.emitter(provider)("gen_ai.client.inference.operation.details", {"a": 1}, None)
    (written,) = exporter.get_finished_logs()
    assert written.log_record.severity_number.value == 5
    assert trace.get_current_span().get_span_context().is_valid is False
