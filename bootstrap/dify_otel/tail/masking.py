"""What must not be shown even when somebody sent it.

Our own agent records no secrets. Other senders share the port, and a terminal or a saved page gets passed around,
so values are masked where they are shown. The received data stay as they came: tests look there for leaks.
"""

from __future__ import annotations

import re

from dify_otel.tail.span import Value

MASK = "•••"

_SECRET_KEY = re.compile(
    r"(^|[._-])(authorization|authentication|cookie|set[-_]cookie|password|passwd|secret|secret[-_]?key"
    r"|api[-_]?key|x[-_]api[-_]key|access[-_]?key|private[-_]?key|licen[cs]e[-_]?key|credentials?"
    r"|(access|refresh|bearer|auth|id|session|csrf)[-_]?token)$",
    re.IGNORECASE,
)
_SECRET_TEXT = re.compile(
    r"(?P<keep>\b(?:Bearer|Basic)\s+)[A-Za-z0-9._~+/=-]{8,}"
    r"|(?P<scheme>://[^/\s:@]*:)[^/\s@]+(?=@)"
    r"|(?P<query>[?&](?:sign|signature|token|api_key|key|nonce|X-Amz-Signature|X-Amz-Credential)=)[^&\s\"']+"
    r"|(?P<arms>\badapt_)[A-Za-z0-9@_-]{6,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"
    r"|\b(?:sk|pk|rk)-[A-Za-z0-9_-]{16,}"
    r"|\b(?:app|dataset)-[A-Za-z0-9]{20,}"
    r"|\bAKIA[0-9A-Z]{16}\b",
)


def masked(key: str, value: Value) -> Value:
    """The value as it may be shown under that key."""
    if isinstance(value, str):
        return MASK if value and _SECRET_KEY.search(key) else masked_text(value)
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, list):
        return [masked(key, item) for item in value]
    if isinstance(value, dict):
        return {name: masked(name, item) for name, item in value.items()}
    return value


def masked_text(text: str) -> str:
    """Free text with everything that looks like a key or a signature replaced."""
    return _SECRET_TEXT.sub(_keep_the_label, text)


def _keep_the_label(found: re.Match[str]) -> str:
    label = next((part for part in found.groups() if part), "")
    return label + MASK
