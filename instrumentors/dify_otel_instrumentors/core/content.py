"""Encodes content: bounded by the limit and not by the input, always valid JSON, without secrets, never raising.

Prompts, answers, documents and arguments are whatever Dify was given: 100 MB strings, cycles, objects whose `__str__`
raises. So values are walked with a budget of output characters; when it is spent, strings are cut, containers are
closed and nothing more is read. No method of a foreign object is called except a mapping's or sequence's iteration.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import math
import re
import uuid
from collections.abc import Mapping, Sequence, Set
from typing import Any

CUT = "…[cut]"
"""Marks a value that was cut."""
_CUT_END = f'{CUT}"'
DEPTH_MAX = 24
"""Nesting deeper than this is written as its class name (cycles end here)."""
REDACTED = "***"

_escape = json.encoder.encode_basestring

_SECRET_WORDS = (
    r"api[_\-]?key|secrets?|password|passwd|credentials?|authorization|bearer|cookie|"
    r"(?:access|refresh|auth|session|api|id|bot)[_\-]?token|(?:private|license|secret|app)[_\-]?key|"
    r"access[_\-]?key(?:[_\-]?(?:id|secret))?"
)
_SECRET_KEY = re.compile(rf"(?i:(?:^|[_\-.])(?:{_SECRET_WORDS}))$|(?<=[a-z0-9])(?=[A-Z])(?i:{_SECRET_WORDS})$")
_NAME_READ = 64
"""Characters at a key's end that tell whether its value is secret: a key may be a whole document."""
_SECRET_TEXT = re.compile(
    r"(?i)([?&](?:sign|signature|nonce|timestamp|token|access_token|api_key|apikey|key|sig|expires|credential|"
    r"x-amz-[a-z\-]+|x-oss-[a-z\-]+|x-goog-[a-z\-]+|ossaccesskeyid|awsaccesskeyid|se|sp|sv|sr)=)[^&#\s\"'<>]+"
    # A word after "basic" is prose unless something in it is neither a small letter nor its first.
    r"|\b((?:bearer|basic)\s+)(?=\S[a-z]*(?-i:[A-Z0-9._~+/=\-]))[A-Za-z0-9._~+/=\-]{8,}"
    r"|(://[^/\s:@]{0,256}:)[^/\s@]{1,256}(?=@)"
)
_AUTHORIZATION = re.compile(r"(?i:earer|asic)\s")


def is_secret_name(name: str) -> bool:
    """Whether a key's value must never be recorded, whatever the mode."""
    return _SECRET_KEY.search(name[-_NAME_READ:]) is not None


def _authorizes(text: str) -> bool:
    if text.isascii():
        # Two plain searches first: the expression alone takes most of what encoding a value costs. Not for other text,
        # where letters outside of ASCII match it too and are not found by `lower`.
        low = text.lower()
        if "earer" not in low and "asic" not in low:
            return False
    return _AUTHORIZATION.search(text) is not None


def scrub(text: str) -> str:
    """`text` without signed URL parameters, authorization values and passwords in URLs."""
    if "=" not in text and "://" not in text and not _authorizes(text):
        return text
    return _SECRET_TEXT.sub(lambda m: (m.group(1) or m.group(2) or m.group(3) or "") + REDACTED, text)


def cut(text: str, limit: int) -> str:
    """`text`, scrubbed, at most `limit` characters."""
    if len(text) > limit:
        # A secret must not survive because the limit falls into it: look a little further, then cut.
        return scrub(text[: limit + 512])[: max(0, limit - len(CUT))] + CUT
    return scrub(text)


def encode(value: Any, limit: int) -> str:
    """`value` as an attribute string of at most about `limit` characters: text as it is, anything else as JSON."""
    return encoded(value, limit)[0]


def encoded(value: Any, limit: int) -> tuple[str, bool]:
    """`encode`, and whether something was left out for the limit's sake."""
    if issubclass(type(value), str):
        text = str.__str__(value)
        return sound(cut(text, limit)), len(text) > limit
    writer = _Writer(limit)
    writer.write(value, 0)
    return "".join(writer.parts), writer.cut


def sound(text: str) -> str:
    """`text` with lone surrogates replaced: they cannot be exported as UTF-8."""
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode("utf-8")
    return text


def _quoted(text: str, room: int) -> str:
    """`text` as a JSON string of about `room` characters: an escape takes up to six."""
    quoted = _escape(text)
    while len(quoted) > room + 2 and len(text) > 0:
        text = text[: len(text) * room // len(quoted)]
        quoted = _escape(text + CUT)
        if len(quoted) <= room + len(CUT) + 2:
            break
    return quoted


def _name_of(kind: type) -> str:
    return str.__str__(type.__dict__["__name__"].__get__(kind))


class _Writer:
    __slots__ = ("cut", "left", "parts")

    def __init__(self, limit: int) -> None:
        self.cut = False
        self.left = limit
        self.parts: list[str] = []

    def put(self, text: str) -> None:
        self.parts.append(text)
        self.left -= len(text)

    def write(self, value: Any, depth: int) -> None:
        kind = type(value)
        if value is None:
            self.put("null")
        elif kind is bool:
            self.put("true" if value else "false")
        elif kind is str:
            self.text(value)
        elif kind is int:
            # int -> str is quadratic in the number of digits
            self.put(int.__repr__(value) if value.bit_length() < 1024 else '"<int>"')
        elif kind is float:
            self.put(float.__repr__(value) if math.isfinite(value) else "null")
        elif depth >= DEPTH_MAX:
            self.text(f"<{_name_of(kind)}>")
        else:
            try:
                self.compound(value, kind, depth)
            except Exception:
                # Containers close themselves, so nothing has been written. `isinstance` alone raises for a proxy
                # outside of its context (werkzeug's LocalProxy).
                self.text(f"<{_name_of(kind)}>")

    def text(self, value: str) -> None:
        room = max(self.left, len(CUT))
        quoted = _quoted(sound(cut(value, room)), room)
        if quoted.endswith(_CUT_END):
            self.cut = True
        self.put(quoted)

    def compound(self, value: Any, kind: type, depth: int) -> None:
        if isinstance(value, enum.Enum):
            self.write(value.value, depth + 1)
        elif isinstance(value, str):
            self.text(str.__str__(value))
        elif isinstance(value, (bytes, bytearray, memoryview)):
            self.text(f"<{_name_of(kind)} {len(value)}>")
        elif isinstance(value, Mapping):
            self.mapping(value, depth)
        elif isinstance(value, (Sequence, Set)):
            self.sequence(value, depth)
        elif isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
            self.text(value.isoformat())
        elif isinstance(value, (uuid.UUID, decimal.Decimal)):
            self.text(str(value)[:128])
        elif dataclasses.is_dataclass(value) or hasattr(kind, "model_fields"):
            self.mapping(_fields(value), depth)
        else:
            self.text(f"<{_name_of(kind)}>")

    def mapping(self, value: Mapping[Any, Any], depth: int) -> None:
        self.put("{")
        first = True
        mark = len(self.parts)
        try:
            for key, item in value.items():
                if self.left <= len(CUT):
                    if not first:
                        self.put(",")
                    self.put(f'"{CUT}":true')
                    self.cut = True
                    break
                name = str.__str__(key) if isinstance(key, str) else _key(key)
                mark = len(self.parts)
                if not first:
                    self.put(",")
                self.put(_quoted(sound(name[:256]), min(256, self.left)))
                self.put(":")
                first = False
                if is_secret_name(name):
                    self.put(f'"{REDACTED}"')
                else:
                    self.write(item, depth + 1)
        except Exception:  # a foreign mapping's iteration: keep what is whole
            if len(self.parts) - mark in (2, 3) and self.parts[-1] == ":":
                self.put("null")
        self.put("}")

    def sequence(self, value: Any, depth: int) -> None:
        self.put("[")
        first = True
        try:
            for item in value:
                if self.left <= len(CUT):
                    self.cut = True
                    break
                if not first:
                    self.put(",")
                first = False
                self.write(item, depth + 1)
        except Exception:  # a foreign sequence's iteration: close after the last whole item
            if self.parts[-1] == ",":
                self.parts.pop()
        self.put("]")


def _key(key: Any) -> str:
    if isinstance(key, enum.Enum):
        key = key.value
    kind = type(key)
    if kind is str:
        return str(key[:256])
    if kind in (int, float, bool) or key is None:
        return "<int>" if kind is int and key.bit_length() >= 1024 else str(key)
    return f"<{_name_of(kind)}>"


def _fields(value: Any) -> Mapping[str, Any]:
    """A model's fields without calling its methods: pydantic's `model_dump` would copy everything first."""
    fields = getattr(value, "__dict__", None)
    if not fields and dataclasses.is_dataclass(value):
        fields = {f.name: getattr(value, f.name, None) for f in dataclasses.fields(value)}
    return {k: v for k, v in (fields or {}).items() if not k.startswith("_")}
