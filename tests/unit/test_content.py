"""Content: always JSON (or text), bounded by the limit and not by the input, without secrets, never an exception."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import time
import uuid
from collections import OrderedDict, UserDict, deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from dify_otel_instrumentors.core import content
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

# What a closed value may exceed its limit by: a bracket a level of nesting, and one marker.
SLACK = 2 * content.DEPTH_MAX + 64

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(alphabet=st.characters(codec=None, exclude_categories=()))
    | st.binary(max_size=40)
    | st.decimals()
    | st.uuids()
    | st.datetimes(),
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=40) | st.integers() | st.none() | st.booleans(), inner, max_size=6)
        | st.sets(st.integers(), max_size=5)
    ),
    max_leaves=30,
)


def decoded(value: Any, limit: int) -> Any:
    text = content.encode(value, limit)
    assert isinstance(text, str)
    text.encode("utf-8")
    assert len(text) <= limit + SLACK, (len(text), limit)
    return text if isinstance(value, str) else json.loads(text)


@settings(max_examples=400, deadline=None)
@given(value=JSON, limit=st.integers(16, 400))
def test_anything_becomes_json_within_its_limit(value: Any, limit: int) -> None:
    decoded(value, limit)


@settings(max_examples=200, deadline=None)
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=12,
    )
)
def test_what_fits_is_told_in_full(value: Any) -> None:
    def clean(item: Any) -> bool:
        if isinstance(item, dict):
            return all(not content.is_secret_name(k) and clean(k) and clean(v) for k, v in item.items())
        if isinstance(item, list):
            return all(clean(v) for v in item)
        return not isinstance(item, str) or (
            content.scrub(item) == item and not any(0xD800 <= ord(c) < 0xE000 for c in item)
        )

    if clean(value) and not isinstance(value, str):
        assert decoded(value, 100_000) == value


WORST: dict[str, Any] = {
    "control": "\x00" * 9000,
    "quotes": '"' * 9000,
    "controls": ["\x00" * 9000],
    "control-keys": {"\x00" * 9000: "\x01" * 9000},
    "long-keys": {"k" * 9000: {"k" * 9000: {"k" * 9000: 1}}},
    "many-controls": [["\x1f" * 7] * 100] * 100,
    "wide-and-deep": [[[[[[["x"] * 50] * 50] * 50] * 50] * 50] * 50] * 50,
    "numbers": list(range(100_000)),
    "pairs": dict.fromkeys(range(100_000), "value"),
    "empty-objects": [{}] * 100_000,
    "empty-lists": [[]] * 100_000,
    "nulls": [None] * 100_000,
    "wide-characters": ["é😀" * 5000],
}


@pytest.mark.parametrize("limit", [16, 17, 40, 100, 1000, 8192])
@pytest.mark.parametrize("name", WORST)
def test_worst_cases_stay_within_the_limit(name: str, limit: int) -> None:
    decoded(WORST[name], limit)


# --- objects that bite


class Boom(Exception):
    pass


class BadText:
    def __str__(self) -> str:
        raise Boom

    __repr__ = __str__
    __hash__ = object.__hash__


class BadClass:
    """As werkzeug's LocalProxy outside of its context: even `isinstance` raises."""

    @property
    def __class__(self) -> Any:
        raise RuntimeError("working outside of application context")


class BadName(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise Boom


class BadlyNamed(metaclass=BadName):
    pass


class BadItems(Mapping[str, int]):
    def __getitem__(self, key: str) -> int:
        raise Boom

    def __iter__(self) -> Iterator[str]:
        raise Boom

    def __len__(self) -> int:
        raise Boom


class HalfItems(UserDict[str, Any]):
    def items(self) -> Any:
        yield "first", 1
        yield "second", {"deep": [1, 2]}
        raise Boom


class BadIter(Sequence[int]):
    def __getitem__(self, index: Any) -> Any:
        raise Boom

    def __len__(self) -> int:
        raise Boom

    def __iter__(self) -> Iterator[int]:
        yield 1
        raise Boom


class EndlessIter(Sequence[int]):
    def __getitem__(self, index: Any) -> Any:
        return 7

    def __len__(self) -> int:
        return 10**18


class BadPairs(UserDict[str, Any]):
    def items(self) -> Any:
        return [("good", 1), "not a pair at all"]


class BadGet:
    def __getattr__(self, name: str) -> Any:
        raise Boom(name)


@dataclasses.dataclass
class Data:
    name: str
    inner: Any = None
    _private: str = "hidden"


@dataclasses.dataclass(slots=True)
class Slotted:
    name: str


class Model(BaseModel):
    name: str
    password: str = "hunter2"
    items: list[Any] = []


class Color(enum.Enum):
    RED = "red"


class Text(str):
    def __str__(self) -> str:
        raise Boom

    def __len__(self) -> int:
        return super().__len__()


class Whole(int):
    def __repr__(self) -> str:
        raise Boom


BITING: list[Any] = [
    BadText(),
    BadClass(),
    BadlyNamed(),
    BadItems(),
    HalfItems(),
    BadIter(),
    EndlessIter(),
    BadPairs(),
    BadGet(),
    Text("text"),
    Whole(3),
    object(),
    lambda: None,
    (i for i in range(3)),
    memoryview(b"abc"),
    bytearray(b"abc"),
    10**5000,
    -(10**5000),
    float("nan"),
    float("inf"),
    decimal.Decimal("NaN"),
    decimal.Decimal(10) ** 900,
    datetime.timedelta(1),
    complex(1, 2),
    range(10),
    deque([1, 2]),
    frozenset([1]),
    OrderedDict(a=1),
    type,
    Exception("text"),
]


@pytest.mark.parametrize("number", range(len(BITING)))
def test_objects_that_bite_become_json(number: int) -> None:
    value = BITING[number]
    for shape in (value, [value], {"key": value}, [1, {"deep": [value]}, 2], Data("n", value)):
        text = content.encode(shape, 300)
        if type(value) is not Text or shape is not value:
            json.loads(text)
        assert len(text) <= 300 + SLACK
    found = json.loads(content.encode([1, value, 2], 10_000))
    assert found[0] == 1 and (found[-1] == 2 or type(value) is EndlessIter)
    if _hashable(value):
        json.loads(content.encode({value: 1}, 300))


def _hashable(value: Any) -> bool:
    try:
        hash(value)
    except Exception:
        return False
    return True


def test_no_foreign_text_method_is_called() -> None:
    assert json.loads(content.encode([BadText()], 100)) == ["<BadText>"]
    assert json.loads(content.encode([10**5000], 100)) == ["<int>"]
    assert json.loads(content.encode(HalfItems(), 1000)) == {"first": 1, "second": {"deep": [1, 2]}}
    assert json.loads(content.encode(BadIter(), 100)) == [1]


def test_the_shapes_dify_has() -> None:
    when = datetime.datetime(2026, 1, 2, 3, 4, 5)
    key = uuid.UUID(int=5)
    value = {
        "data": Data("n", [Color.RED]),
        "slots": Slotted("s"),
        "model": Model(name="m", items=[1, Slotted("t")]),
        "when": when,
        "id": key,
        "price": decimal.Decimal("0.10"),
        Color.RED: b"bytes",
        7: (1, 2),
    }
    assert json.loads(content.encode(value, 10_000)) == {
        "data": {"name": "n", "inner": ["red"]},
        "slots": {"name": "s"},
        "model": {"name": "m", "password": "***", "items": [1, {"name": "t"}]},
        "when": "2026-01-02T03:04:05",
        "id": str(key),
        "price": "0.10",
        "red": "<bytes 5>",
        "7": [1, 2],
    }


def test_cycles_and_depth_end() -> None:
    loop: dict[str, Any] = {}
    loop["loop"] = [loop]
    assert "<" in content.encode(loop, 10_000)
    decoded(loop, 10_000)
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    decoded(deep, 10_000)


def test_lone_surrogates_can_be_exported() -> None:
    for value in ("a\ud800b", ["a\ud800b"], {"\udfff": "\ud800"}):
        content.encode(value, 100).encode("utf-8")


# --- secrets

CANARY = "Zx9" + "q7Wv" * 8

SECRET_KEYS = [
    "api_key",
    "apikey",
    "apiKey",
    "API-KEY",
    "openai_api_key",
    "openaiApiKey",
    "x-api-key",
    "Authorization",
    "proxy-authorization",
    "password",
    "db_password",
    "dbPassword",
    "passwd",
    "secret",
    "client_secret",
    "clientSecret",
    "secret_key",
    "secretKey",
    "access_key",
    "secret_access_key",
    "aws_secret_access_key",
    "access_key_id",
    "accessKeySecret",
    "access_token",
    "accessToken",
    "refresh_token",
    "api_token",
    "id_token",
    "session_token",
    "credentials",
    "cookie",
    "Set-Cookie",
    "private_key",
    "license_key",
]
PLAIN_KEYS = [
    "token_count",
    "max_tokens",
    "total_tokens",
    "time_to_first_token",
    "stop_token",
    "key",
    "keyword",
    "primary_key",
    "keys",
    "secretary",
    "monkey",
    "author",
    "cookies_accepted",
    "query",
    "name",
]


@pytest.mark.parametrize("key", SECRET_KEYS)
def test_a_secret_keys_value_is_never_told(key: str) -> None:
    for value in ({key: CANARY}, [{"a": {key: [CANARY]}}], {key: {"nested": CANARY}}, {"x" * 40 + "_" + key: CANARY}):
        text = content.encode(value, 10_000)
        assert CANARY not in text
        assert content.REDACTED in text
        json.loads(text)


@pytest.mark.parametrize("key", PLAIN_KEYS)
def test_ordinary_keys_are_told(key: str) -> None:
    assert json.loads(content.encode({key: "value"}, 1000)) == {key: "value"}


SECRET_TEXTS = [
    f"https://files.example/x.png?sign={CANARY}",
    f"https://files.example/x.png?a=1&timestamp={CANARY}&nonce={CANARY}&sign={CANARY}#top",
    f"https://bucket.example/o?X-Amz-Signature={CANARY}&X-Amz-Credential={CANARY}",
    f"https://bucket.example/o?OSSAccessKeyId={CANARY}&Signature={CANARY}",
    f"https://blob.example/o?sv={CANARY}&sig={CANARY}",
    f"https://maps.example/?key={CANARY}",
    f"Authorization: Bearer {CANARY}",
    f"authorization: bearer {CANARY}",
    f"AUTHORIZATION: BEARER {CANARY}",
    f"AUTHORIZATION: BASIC {CANARY}",
    f"Authorization: Basic {CANARY}",
    f"postgresql://user:{CANARY}@db:5432/dify",
    f"redis://:{CANARY}@redis:6379/0",
]


@pytest.mark.parametrize("text", SECRET_TEXTS)
@pytest.mark.parametrize("before", [0, 20, 8100, 8185, 8192, 9000])
def test_secrets_in_text_are_never_told(text: str, before: int) -> None:
    for value in ("x" * before + " " + text, ["x" * before + " " + text], {"url": "x" * before + " " + text}):
        told = content.encode(value, 8192)
        assert CANARY not in told
        # Nor the part of it that a cut leaves.
        assert CANARY[:10] not in told


@pytest.mark.parametrize(
    "text",
    [
        "Basic understanding of physics, basic responsibilities included.",
        "The bearer of this letter",
        "Basic Instructions",
        "https://example.com/path?page=2&q=otters",
        "a = b, c=d & e=f",
        "mail me: someone@example.com",
        "ratio 3:4@noon",
    ],
)
def test_ordinary_text_is_told_as_it_is(text: str) -> None:
    assert content.encode(text, 8192) == text


# --- cost


def test_a_hundred_megabytes_cost_what_eight_kilobytes_cost() -> None:
    small, large = "lorem ipsum " * 700, "lorem ipsum " * 8_700_000

    def cost(value: Any) -> float:
        best = float("inf")
        for _ in range(15):
            began = time.perf_counter()
            for _ in range(5):
                content.encode(value, 8192)
            best = min(best, time.perf_counter() - began)
        return best

    for shape in (lambda t: t, lambda t: [t], lambda t: {"a": t}, lambda t: {t: 1}, lambda t: {"x": {"password": t}}):
        assert cost(shape(large)) < 4 * cost(shape(small)) + 0.0005


def test_a_long_list_costs_what_its_told_part_costs() -> None:
    def cost(value: list[int]) -> float:
        best = float("inf")
        for _ in range(10):
            began = time.thread_time()
            content.encode(value, 8192)
            best = min(best, time.thread_time() - began)
        return best

    assert cost(list(range(3_000_000))) < 5 * cost(list(range(3000))) + 0.002


@pytest.mark.parametrize("word", ["Bearer", "BEARER", "basic", "bASIC", "ba\u017fic", "BAS\u0130C", "bas\u0131c"])
@pytest.mark.parametrize("around", ["", "prose ", "Überschrift "])
def test_an_authorization_is_found_however_its_word_is_spelled(word: str, around: str) -> None:
    assert content.scrub(f"{around}{word} Zm9vOmJhcg1234") == f"{around}{word} {content.REDACTED}"
