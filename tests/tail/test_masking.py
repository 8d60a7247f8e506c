"""Secrets other senders leave in spans are not shown, and honest values are."""

from __future__ import annotations

import json

import pytest
from dify_otel.tail import report
from dify_otel.tail.masking import MASK, masked, masked_text
from dify_otel.tail.page import page
from dify_otel.tail.render import render
from dify_otel.tail.tree import build

from .sample import span


@pytest.mark.parametrize(
    "key",
    [
        "http.request.header.authorization",
        "api_key",
        "x-api-key",
        "db.password",
        "client_secret",
        "access_token",
        "cookie",
    ],
)
def test_keys_that_name_a_secret(key: str) -> None:
    assert masked(key, "anything") == MASK
    assert masked(key, ["anything"]) == [MASK]
    assert masked("headers", {key: "anything", "accept": "x"}) == {key: MASK, "accept": "x"}


@pytest.mark.parametrize(
    "key", ["gen_ai.usage.input_tokens", "dify.message.tokens", "gen_ai.token.type", "tokenizer", "author"]
)
def test_keys_that_only_sound_like_one(key: str) -> None:
    assert masked(key, "17") == "17"
    assert masked(key, 17) == 17


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abcdef123456", "Authorization: Bearer •••"),
        ("redis://:hunter2@redis:6379/0", "redis://:•••@redis:6379/0"),
        ("postgresql://dify:s3cret@db/dify", "postgresql://dify:•••@db/dify"),
        ("/files/1?timestamp=1&nonce=n&sign=abc", "/files/1?timestamp=1&nonce=•••&sign=•••"),
        ("http://h/adapt_abc123@def456_x/api/otlp/traces", "http://h/adapt_•••/api/otlp/traces"),
        ("key sk-proj-abcdefghijklmnop1234", "key •••"),
        ("app-abcdefghijklmnopqrstuvwx", "•••"),
        ("eyJhbGciOiJI.eyJzdWIiOiIx.abc-def", "•••"),
        ("a task-based approach", "a task-based approach"),
        ("https://host:8080/path?page=2", "https://host:8080/path?page=2"),
    ],
)
def test_texts(text: str, shown: str) -> None:
    assert masked_text(text) == shown


def test_no_way_out_shows_a_secret() -> None:
    canary = "Zq9canary7Zq9canary7Zq9"
    said = f"Bearer {canary} and sk-{canary} and https://u:{canary}@h/?sign={canary}"
    attributes = {"api_key": canary, "http.request.header.cookie": [canary], "url.full": said}
    attributes |= {"input.value": json.dumps({"authorization": f"Bearer {canary}"}), "output.value": said}
    failed = span(1, 0, "s", 0, 1, attributes, status="ERROR", status_message=said)
    trace = build([failed])
    for shown in (render(trace), page(trace), report.line(trace)):
        assert canary not in shown
        assert MASK in shown
