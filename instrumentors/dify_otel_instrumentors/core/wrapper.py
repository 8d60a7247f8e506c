"""Function in, function out: one span around each call (`instrument`), or only a look at it (`tap`).

The wrapped call stands alone in its `try`, so that no failure of ours can be mistaken for Dify's; arguments are passed
through as they came and read by name from a signature that is read once (Dify 1.16.0 put `session` in front of the
parameters of about forty of these functions). A closure, not wrapt: 0.18 µs against 0.71 µs a call.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from time import perf_counter
from types import GeneratorType
from typing import Any

from . import guard, span
from .context import current
from .operation import Operation, Tap
from .span import begin
from .stream import relay

MARK = "__dify_otel__"
"""Attribute of a wrapper that holds what it wraps."""


def binder(function: Callable[..., Any]) -> Callable[[tuple[Any, ...], dict[str, Any]], dict[str, Any]]:
    """A quick `signature.bind`: arguments by name, defaults filled in, without judging whether the call is legal."""
    names: list[str] = []
    defaults: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            names.append(parameter.name)
        if parameter.default is not parameter.empty:
            defaults[parameter.name] = parameter.default

    def bind(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        bound = defaults | kwargs
        for name, value in zip(names, args):  # noqa: B905 - `strict=` costs as much as the rest
            bound[name] = value
        return bound

    return bind


def instrument(function: Callable[..., Any], operation: Operation) -> Callable[..., Any]:
    """`function` with one span around each call: same arguments, result, exceptions and stream."""
    bind = binder(function)

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if span._runtime is None:
            return function(*args, **kwargs)
        try:
            began = perf_counter()
            call = begin(operation, bind(args, kwargs))
            if call is not None:
                call.spent[0] += perf_counter() - began
        except Exception:
            guard.failed(f"{operation.concept}.bind")
            call = None
        if call is None:
            return function(*args, **kwargs)
        token = call.enter()
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            call.leave(token)
            call.fail(error)
            raise
        call.leave(token)
        return _observed(result, call, operation)

    setattr(wrapper, MARK, function)
    return wrapper


def _observed(result: Any, call: Any, operation: Operation) -> Any:
    """Put a relay where the stream is; a result without a stream is finished now. The same object goes back."""
    try:
        if type(result) is GeneratorType:
            return relay(result, call)
        slot = operation.stream
        if slot is not None:
            source = getattr(result, slot, None)
            if type(source) is GeneratorType:
                setattr(result, slot, relay(source, call))
                return result
    except Exception:
        guard.failed(f"{operation.concept}.relay")
    call.finish(result)
    return result


def tap(function: Callable[..., Any], tapping: Tap) -> Callable[..., Any]:
    """`function`, observed."""
    bind = binder(function)
    only, before, after, replace = tapping.only, tapping.before, tapping.after, tapping.replace
    site = getattr(function, "__qualname__", "tap")

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        bound = None
        enclosing = None
        try:
            if only is None or only(args):
                enclosing = current()
                bound = bind(args, kwargs)
                if before is not None:
                    before(bound, enclosing)
        except Exception:
            guard.failed(site)
        result = function(*args, **kwargs)
        if bound is None:
            return result
        try:
            if after is not None:
                after(bound, result, enclosing)
            if replace is not None:
                return replace(bound, result, enclosing)
        except Exception:
            guard.failed(site)
        return result

    setattr(wrapper, MARK, function)
    return wrapper
