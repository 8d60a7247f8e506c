"""Settings: defaults, blanks as unset, one warning for what is not understood, and no exception for anything."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any

import pytest
from dify_otel import settings as subject
from hypothesis import given, settings
from hypothesis import strategies as st

NAMES = sorted({s.name for s in subject.DOCUMENTED} | {"DIFY_OTEL_USER_ID_SALT", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"})
DEFAULT = subject.Settings()


def test_nothing_set_gives_the_defaults_without_a_warning() -> None:
    assert subject.read({}) == DEFAULT
    assert DEFAULT.enabled and not DEFAULT.content_on_spans and not DEFAULT.content_on_events and not DEFAULT.error_text


@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
def test_blank_is_unset(blank: str) -> None:
    assert subject.read(dict.fromkeys(NAMES, blank)) == DEFAULT


def test_the_documented_defaults_are_the_real_ones() -> None:
    # What the README says is the default, set by hand, changes nothing.
    for setting in subject.DOCUMENTED:
        if setting.default and setting.default != "by role" and "://" not in setting.default:
            assert subject.read({setting.name: setting.default}) == DEFAULT, setting.name


def test_every_documented_name_is_read_and_every_name_read_is_documented() -> None:
    class Spy(dict[str, str]):
        seen: set[str] = set()  # noqa: RUF012

        def get(self, key: str, default: Any = None) -> Any:
            self.seen.add(key)
            return default

    subject.read(Spy())
    documented = {s.name for s in subject.DOCUMENTED}
    # These two are read by the exporters themselves, and one refines the protocol.
    assert documented - Spy.seen <= {"OTEL_EXPORTER_OTLP_ENDPOINT"}
    assert Spy.seen - documented <= {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"}


WORDS = [
    ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "content_mode", subject.CONTENT_MODES),
    ("DIFY_OTEL_USER_ID", "user_id", ("external", "internal", "hash", "off")),
    ("DIFY_OTEL_INFRA_SPANS", "infra_spans", ("slow", "all", "off")),
    ("DIFY_OTEL_NATIVE_SPANS", "native_spans", ("ours", "dify")),
    ("DIFY_OTEL_RESPONSE_HEADERS", "response_headers", ("off", "traceparent", "server-timing", "both")),
    ("DIFY_OTEL_LOG_LEVEL", "log_level", ("debug", "info", "warning", "error")),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "protocol", ("grpc", "http/protobuf")),
    ("OTEL_TRACES_EXPORTER", "traces_exporter", ("otlp", "console", "none")),
    ("OTEL_METRICS_EXPORTER", "metrics_exporter", ("otlp", "console", "none")),
    ("OTEL_LOGS_EXPORTER", "logs_exporter", ("none", "otlp", "console")),
]


@pytest.mark.parametrize(("name", "field", "allowed"), WORDS)
def test_words(name: str, field: str, allowed: tuple[str, ...]) -> None:
    for word in allowed:
        for spelling in (word, word.upper(), f"  {word}\n"):
            read = subject.read({name: spelling})
            assert (getattr(read, field), read.warnings) == (word, ())
    wrong = subject.read({name: "sideways"})
    assert getattr(wrong, field) == getattr(DEFAULT, field)
    assert len(wrong.warnings) == 1
    for expected in (name, "sideways", *allowed, getattr(DEFAULT, field)):
        assert expected in wrong.warnings[0]


FLAGS = [("DIFY_OTEL_ENABLED", "enabled"), ("DIFY_OTEL_TRUST_INCOMING", "trust_incoming")]


@pytest.mark.parametrize(("name", "field"), FLAGS)
@pytest.mark.parametrize(("value", "meant"), [("true", True), ("1", True), ("YES", True), ("on", True), ("false", False), ("0", False), ("No", False), ("off", False)])  # fmt: skip  # noqa: E501
def test_flags(name: str, field: str, value: str, meant: bool) -> None:
    read = subject.read({name: value})
    assert getattr(read, field) is meant
    assert read.warnings == ()


def test_either_switch_turns_everything_off() -> None:
    assert not subject.read({"OTEL_SDK_DISABLED": "true"}).enabled
    assert not subject.read({"DIFY_OTEL_ENABLED": "false", "OTEL_SDK_DISABLED": "false"}).enabled
    assert subject.read({"OTEL_SDK_DISABLED": "false"}).enabled


@pytest.mark.parametrize(
    ("mode", "spans", "events", "text"),
    [
        ("true", True, False, True),
        ("TRUE", True, False, True),
        ("false", False, False, False),
        ("span_only", True, False, True),
        ("EVENT_ONLY", False, True, True),
        ("SPAN_AND_EVENT", True, True, True),
        ("NO_CONTENT", False, False, False),
        ("everything", False, False, False),
    ],
)
def test_the_content_switch(mode: str, spans: bool, events: bool, text: bool) -> None:
    read = subject.read({"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": mode})
    assert (read.content_on_spans, read.content_on_events, read.emit_events) == (spans, events, events)
    assert read.error_text is text


def test_error_text_can_be_had_without_content_and_kept_out_with_it() -> None:
    content = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
    assert subject.read({"DIFY_OTEL_ERROR_TEXT": "true"}).error_text
    assert not subject.read({content: "SPAN_ONLY", "DIFY_OTEL_ERROR_TEXT": "false"}).error_text


@pytest.mark.parametrize("value", ["15", "1048577", "-1", "nan", "inf", "-inf", "1e400", "many", "8k", "٣"])
def test_numbers_out_of_range_keep_the_default(value: str) -> None:
    read = subject.read({"DIFY_OTEL_CONTENT_MAX_LENGTH": value})
    assert read.content_max_length == 8192
    assert len(read.warnings) == 1


def test_lists() -> None:
    read = subject.read({"DIFY_OTEL_DIALECTS": "otel, OpenInference", "DIFY_OTEL_SEAMS_DISABLED": "tool, node.run ,"})
    assert read.dialects == ("otel", "openinference")
    assert read.seams_disabled == {"tool", "node.run"}
    wrong = subject.read({"DIFY_OTEL_DIALECTS": "otel,klingon"})
    assert wrong.dialects == ("otel",)
    assert len(wrong.warnings) == 1 and "openinference" in wrong.warnings[0]
    assert subject.read({"DIFY_OTEL_DIALECTS": ","}).dialects == DEFAULT.dialects


def test_labels_of_apps_are_off_unless_named() -> None:
    name = "DIFY_OTEL_METRICS_APP_LABELS"
    assert DEFAULT.metrics_app_labels == ()
    assert subject.read({name: "OFF"}) == DEFAULT
    assert subject.read({name: "tenant_id, APP_ID"}).metrics_app_labels == ("tenant_id", "app_id")
    wrong = subject.read({name: "app_id,user_id"})
    assert wrong.metrics_app_labels == ("app_id",)
    assert len(wrong.warnings) == 1 and "tenant_id" in wrong.warnings[0]


def test_the_traces_protocol_wins_over_the_general_one() -> None:
    names = ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
    assert subject.read(dict(zip(names, ("grpc", "http/protobuf"), strict=True))).protocol == "http/protobuf"
    assert subject.read(dict(zip(names, ("http/protobuf", ""), strict=True))).protocol == "http/protobuf"


def test_secrets_do_not_show() -> None:
    shown = repr(subject.read({"DIFY_OTEL_ARMS_LICENSE_KEY": "canary-key", "DIFY_OTEL_USER_ID_SALT": "canary-salt"}))
    assert "canary" not in shown


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), st.text(max_size=200)))
def test_any_environment_gives_settings(environ: dict[str, str]) -> None:
    read = subject.read(environ)
    assert len(read.warnings) <= 2 * len(environ) + sum(v.count(",") for v in environ.values())
    for warning in read.warnings:
        assert len(warning) < 500
    for field in dataclasses.fields(read):
        if field.name != "warnings" and isinstance(getattr(DEFAULT, field.name), bool):
            assert isinstance(getattr(read, field.name), bool)
    assert 16 <= read.content_max_length <= 1_048_576
    assert 0 <= read.flush_seconds <= 60
    assert read.dialects


def test_warnings_go_to_standard_error_once() -> None:
    code = (
        "from dify_otel import settings; settings.current(); settings.current(); import sys; print(len(sys.path) > 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.path[:0] = sys.argv[1:]; " + code, *[p for p in sys.path if p]],
        env={"DIFY_OTEL_INFRA_SPANS": "loud"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "True\n"
    assert done.stderr.count("DIFY_OTEL_INFRA_SPANS") == 1


def test_the_table_names_every_setting() -> None:
    rows = subject.table().splitlines()
    assert len(rows) == len(subject.DOCUMENTED) + 2
    assert all(row.count(" | ") == 3 for row in rows[2:])
