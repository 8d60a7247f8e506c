"""Calls of the plugin daemon: how long each took, by plugin and by what was asked of it.

No span: HTTP makes one, with the trace's headers. The time is taken above HTTP, where a plugin's error has become an
exception with a name; below, it is an ordinary answer. A stream is over with its last byte, or when it is closed; no
chunk is looked at, `yield from` hands it on in C.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Mapping
from time import perf_counter
from types import GeneratorType
from typing import Any

from . import shapes
from .core import guard, metrics

_ID_MIN = 32
"""An id is not shorter, and has digits. `get_online_document_page_content` is as long and has none."""
_NAME_MAX = 64


def action(path: Any) -> str | None:
    """What a request asks of the daemon: `llm/invoke` of `plugin/<tenant>/dispatch/llm/invoke`, else the area only.

    Other areas (`management`, `endpoint`, `asset`) have ids in their paths.
    """
    parts = path.split("/") if isinstance(path, str) else []
    if len(parts) < 3 or not _is_name(parts[2]):
        return None
    names = parts[3:6]
    if parts[2] == "dispatch" and names and all(_is_name(name) for name in names):
        return "/".join(names)
    return parts[2]


def _is_name(part: str) -> bool:
    if len(part) >= _ID_MIN and (len(part) > _NAME_MAX or any(map(str.isdigit, part))):
        return False
    return part.replace("-", "_").isidentifier()


def _labels(arguments: Mapping[str, Any]) -> dict[str, Any]:
    headers = arguments.get("headers")
    name = headers.get("X-Plugin-ID") if isinstance(headers, Mapping) else None
    return {"dify.plugin.name": shapes.word(name), "dify.plugin.action": action(arguments.get("path"))}


def _record(labels: Mapping[str, Any], began: float, error: BaseException | None) -> None:
    try:
        kind = None
        if error is not None and not isinstance(error, GeneratorExit):  # a closed stream was not read on: no error
            # Dify wraps what failed on the way to the daemon into a ValueError.
            kind = type(error.__cause__ if type(error) is ValueError and error.__cause__ else error).__name__
        metrics.record("dify.plugin.invocation.duration", perf_counter() - began, {**labels, "error.type": kind})
    except Exception:
        guard.failed("plugin.record")


def timed(function: Callable[..., Any]) -> Callable[..., Any]:
    """A method of the daemon's client, each call of which is timed; the same for those that stream."""
    from .core.wrapper import binder  # loads OpenTelemetry: not before Dify runs

    bind = binder(function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not metrics.active():
            return function(*args, **kwargs)
        labels: dict[str, Any] = {}
        try:
            labels = _labels(bind(args, kwargs))
        except Exception:
            guard.failed("plugin.labels")
        began = perf_counter()
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            _record(labels, began, error)
            raise
        if type(result) is GeneratorType:
            return _until_over(result, labels)
        _record(labels, began, None)
        return result

    return call


def _until_over(source: Generator[Any, Any, Any], labels: Mapping[str, Any]) -> Generator[Any, Any, Any]:
    # Begins with the first item asked for, as the request does; a stream never read is no call.
    began = perf_counter()
    try:
        result = yield from source
    except BaseException as error:
        _record(labels, began, error)
        raise
    _record(labels, began, None)
    return result
