"""Calls of the plugin daemon: timed to the last byte, by plugin and action; streams as before, at no cost per chunk."""

from __future__ import annotations

import gc
import timeit
from collections.abc import Generator
from types import GeneratorType
from typing import Any

import pytest
from dify_otel_instrumentors import plugin
from dify_otel_instrumentors.core import metrics

DURATION = "dify.plugin.invocation.duration"
TENANT = "0d5e9ac4-5ba4-4cf6-8f2c-3f1f9a6ab6ce"
INVOKE = f"plugin/{TENANT}/dispatch/llm/invoke"
HEADERS = {"X-Plugin-ID": "langgenius/openai", "Content-Type": "application/json"}


class PluginInvokeError(Exception):
    pass


class PluginDaemonInnerError(Exception):
    pass


class BasePluginClient:
    closed = False

    def _request_with_plugin_daemon_response(
        self, method: str, path: str, type_: type, headers: Any = None, data: Any = None
    ) -> Any:
        if data == "refused":
            raise PluginInvokeError("no")
        if data == "unreachable":
            try:
                raise PluginDaemonInnerError("-500")
            except PluginDaemonInnerError as error:
                raise ValueError(f"Failed to request plugin daemon, url: {path}") from error
        return type_(data)

    def _request_with_plugin_daemon_response_stream(
        self, method: str, path: str, type_: type, headers: Any = None, data: Any = None
    ) -> Generator[Any, Any, Any]:
        try:
            for item in data or ():
                if item == "refused":
                    raise PluginInvokeError("no")
                yield type_(item)
        finally:
            self.closed = True
        return "returned"


@pytest.fixture
def client(monkeypatch: Any) -> Any:
    for name in ("_request_with_plugin_daemon_response", "_request_with_plugin_daemon_response_stream"):
        monkeypatch.setattr(BasePluginClient, name, plugin.timed(getattr(BasePluginClient, name)))
    return BasePluginClient()


@pytest.fixture
def clock(monkeypatch: Any) -> Any:
    now = [100.0]
    monkeypatch.setattr(plugin, "perf_counter", lambda: now[0])
    return now


def points(recorded: Any) -> list[tuple[dict[str, Any], int, float]]:
    return [(dict(p.attributes), p.count, p.sum) for p in recorded.points(DURATION)]


LABELS = {"dify.plugin.name": "langgenius/openai", "dify.plugin.action": "llm/invoke"}


def test_a_call(client: Any, recorded: Any) -> None:
    # Positionally and by name, as Dify's clients do both.
    assert client._request_with_plugin_daemon_response("POST", INVOKE, str, HEADERS, 1) == "1"
    assert (
        client._request_with_plugin_daemon_response(method="POST", path=INVOKE, type_=str, headers=HEADERS, data=1)
        == "1"
    )
    ((labels, count, seconds),) = points(recorded)
    assert (labels, count) == (LABELS, 2)
    assert 0 < seconds < 1
    assert not recorded.spans


@pytest.mark.parametrize(
    ("data", "raised", "kind"),
    [("refused", PluginInvokeError, "PluginInvokeError"), ("unreachable", ValueError, "PluginDaemonInnerError")],
)
def test_a_call_that_fails(client: Any, recorded: Any, data: str, raised: type[Exception], kind: str) -> None:
    with pytest.raises(raised):
        client._request_with_plugin_daemon_response("POST", INVOKE, str, HEADERS, data)
    ((labels, count, _),) = points(recorded)
    assert (labels, count) == ({**LABELS, "error.type": kind}, 1)


def test_a_stream_lasts_to_its_last_byte(client: Any, recorded: Any, clock: Any) -> None:
    stream = client._request_with_plugin_daemon_response_stream("POST", INVOKE, str, HEADERS, "abc")
    assert type(stream) is GeneratorType
    clock[0] += 50  # not read yet: the request has not been made
    read = []
    for item in stream:
        read.append(item)
        clock[0] += 1
        assert not recorded.points(DURATION)
    assert read == ["a", "b", "c"]
    assert points(recorded) == [(LABELS, 1, 3.0)]


def test_what_a_stream_returns_is_returned(client: Any, recorded: Any) -> None:
    def outer() -> Generator[Any, Any, Any]:
        return (yield from client._request_with_plugin_daemon_response_stream("POST", INVOKE, str, HEADERS, "a"))

    stream = outer()
    assert next(stream) == "a"
    with pytest.raises(StopIteration) as stop:
        next(stream)
    assert stop.value.value == "returned"
    assert len(points(recorded)) == 1


def test_a_stream_that_fails(client: Any, recorded: Any) -> None:
    stream = client._request_with_plugin_daemon_response_stream("POST", INVOKE, str, HEADERS, ["a", "refused"])
    assert next(stream) == "a"
    with pytest.raises(PluginInvokeError):
        next(stream)
    assert [(labels["error.type"], count) for labels, count, _ in points(recorded)] == [("PluginInvokeError", 1)]


@pytest.mark.parametrize("how", ["close", "drop"])
def test_a_stream_that_is_left(client: Any, recorded: Any, how: str) -> None:
    stream = client._request_with_plugin_daemon_response_stream("POST", INVOKE, str, HEADERS, "abc")
    next(stream)
    if how == "close":
        stream.close()
    del stream
    gc.collect()
    assert client.closed
    ((labels, count, _),) = points(recorded)
    assert (labels, count) == (LABELS, 1)


def test_a_stream_never_read_is_no_call(client: Any, recorded: Any) -> None:
    client._request_with_plugin_daemon_response_stream("POST", INVOKE, str, HEADERS, "abc").close()
    gc.collect()
    assert not client.closed
    assert not points(recorded)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (INVOKE, "llm/invoke"),
        (f"plugin/{TENANT}/dispatch/speech2text/invoke", "speech2text/invoke"),
        (f"plugin/{TENANT}/dispatch/tts/model/voices", "tts/model/voices"),
        (f"plugin/{TENANT}/dispatch/model/polling/start", "model/polling/start"),
        (
            f"plugin/{TENANT}/dispatch/datasource/get_online_document_page_content",
            "datasource/get_online_document_page_content",
        ),
        (f"plugin/{TENANT}/dispatch/tool/{TENANT}", "dispatch"),
        (f"plugin/{TENANT}/dispatch/tool/a0123456789abcdef0123456789abcdef", "dispatch"),
        (f"plugin/{TENANT}/management/models", "management"),
        (f"plugin/{TENANT}/management/install/tasks/{TENANT}/delete/langgenius/openai:1@abc", "management"),
        (f"plugin/{TENANT}/asset/{TENANT}", "asset"),
        (f"plugin/{TENANT}/extract-asset/", "extract-asset"),
        (f"plugin/{TENANT}/{TENANT}", None),
        ("nowhere", None),
        ("", None),
        (None, None),
    ],
)
def test_actions_have_no_ids(path: Any, said: Any) -> None:
    assert plugin.action(path) == said


@pytest.mark.parametrize("headers", [None, {}, {"Content-Type": "application/json"}, "odd"])
def test_a_call_that_names_no_plugin(client: Any, recorded: Any, headers: Any) -> None:
    client._request_with_plugin_daemon_response("GET", f"plugin/{TENANT}/management/models", str, headers)
    assert [labels for labels, _, _ in points(recorded)] == [{"dify.plugin.action": "management"}]


def test_without_a_meter_the_stream_is_difys_own(client: Any) -> None:
    metrics.configure(None)
    stream = client._request_with_plugin_daemon_response_stream("POST", INVOKE, str, HEADERS, "abc")
    assert stream.gi_code.co_name == "_request_with_plugin_daemon_response_stream"
    assert list(stream) == ["a", "b", "c"]


@pytest.mark.usefixtures("recorded")
def test_our_failure_is_not_difys(client: Any, quiet_guard: Any, monkeypatch: Any) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError

    monkeypatch.setattr(plugin, "_labels", broken)
    monkeypatch.setattr(metrics, "record", broken)
    assert client._request_with_plugin_daemon_response("POST", INVOKE, str, HEADERS, 1) == "1"
    assert list(client._request_with_plugin_daemon_response_stream("POST", INVOKE, str, HEADERS, "ab")) == ["a", "b"]
    with pytest.raises(PluginInvokeError):
        client._request_with_plugin_daemon_response("POST", INVOKE, str, HEADERS, "refused")
    assert quiet_guard.counts() == {"plugin.labels": 3, "plugin.record": 3}


@pytest.mark.usefixtures("recorded")
def test_a_chunk_costs_less_than_a_microsecond() -> None:
    count = 50_000

    def source() -> Generator[int, None, None]:
        yield from range(count)

    def drained(stream: Generator[int, None, None]) -> None:
        for _ in stream:
            pass

    bare = min(timeit.repeat(lambda: drained(source()), number=1, repeat=5))
    ours = min(timeit.repeat(lambda: drained(plugin._until_over(source(), {})), number=1, repeat=5))
    assert (ours - bare) / count < 1e-6, f"{(ours - bare) / count * 1e9:.0f} ns a chunk"
