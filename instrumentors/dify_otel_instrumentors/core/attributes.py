"""Putting facts that are sound already onto a span, past the SDK's second look at each of them.

The SDK takes a lock and checks key and value of every attribute, twice a span: a third of what a span costs. `Call` has
done all of it. Where the SDK has not the shape this file knows (1.27 to 1.44), or limits of its own are set, or a
sampler or processor might read a span's attributes at its start, the public way is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_kind: Any = None
_holder: Any = None
_cleaned: tuple[type, ...] = (str, int, float, bool, tuple)

_STANDARD = "opentelemetry.sdk.trace.sampling"


def learn() -> None:
    """Look at the installed SDK. Nothing is put past it unless it keeps attributes as it did in 1.27 to 1.44."""
    global _kind, _holder
    _kind = _holder = None
    try:
        from opentelemetry.attributes import BoundedAttributes
        from opentelemetry.sdk.trace import _Span

        probe = BoundedAttributes(2, {"a": 1}, immutable=False)
        probe._dict.update({"b": (1,)})
        if type(probe._dict) is dict and dict(probe) == {"a": 1, "b": (1,)} and probe.max_value_len is None:
            _kind, _holder = _Span, BoundedAttributes
    except Exception:  # another SDK: the public way it is
        return


def unread(tracer: Any) -> bool:
    """Whether nobody reads the attributes a span of `tracer` starts with: the SDK's own samplers do not."""
    sampler = getattr(tracer, "sampler", None)
    parts = [sampler, *(value for name, value in getattr(sampler, "__dict__", {}).items() if "parent" in name)]
    parts.append(getattr(sampler, "_root", None))
    return sampler is not None and all(part is None or type(part).__module__ == _STANDARD for part in parts)


def put(span: Any, attributes: Mapping[str, Any]) -> None:
    """`span.set_attributes(attributes)`, of which each is a str, int, float, bool or a tuple of one of these."""
    if type(span) is _kind:
        held = span._attributes
        if type(held) is _holder and held.max_value_len is None:
            inner, most = held._dict, held.maxlen
            if type(inner) is dict and (most is None or len(inner) + len(attributes) <= most):
                # One step under the interpreter's lock: a reader copies before or after.
                inner.update(attributes)
                return
    span.set_attributes(attributes)
