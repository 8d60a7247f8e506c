"""The standard OTEL_* variables as the SDK should read them, while it is imported and made.

The SDK takes an empty value literally and raises for numbers it cannot read, some of them already when it is imported:
there would be no traces at all. And a backend that was named gives what its variables would say. Imports no SDK.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from dify_otel import notice
from dify_otel.settings import Settings

_FRACTIONS = ("_TIMEOUT", "_INTERVAL")
_NUMBERS = (*_FRACTIONS, "_LIMIT", "_DELAY", "_SIZE")
_NUMBER_MAX = 2**31


def acceptable(name: str, value: str) -> bool:
    """Whether the SDK can live with that value."""
    if name.startswith("OTEL_EXPORTER_OTLP_") and name.endswith("COMPRESSION"):
        return value.strip().lower() in ("none", "gzip", "deflate")
    if not name.startswith("OTEL_") or not name.endswith(_NUMBERS):
        return True
    try:
        number = float(value) if name.endswith(_FRACTIONS) else int(value)
    except ValueError:
        return False
    least = 1 if name.startswith(("OTEL_BSP_", "OTEL_BLRP_", "OTEL_METRIC_EXPORT_")) else 0
    return least <= number <= _NUMBER_MAX


@contextlib.contextmanager
def environment(settings: Settings) -> Iterator[None]:
    """While it lasts, `os.environ` is as the SDK should see it; afterwards as before."""
    values: dict[str, str] = {}
    if settings.arms_endpoint:
        from dify_otel import backends

        try:
            values = backends.environment(
                backends.resolve(
                    "arms", settings.arms_endpoint, settings.arms_license_key, settings.arms_app_name or None
                )
            )
        except backends.BackendError as error:  # its text never holds the key
            notice.line(f"dify-otel: DIFY_OTEL_ARMS_ENDPOINT: {error}; exporting by the standard variables instead")
        if not settings.arms_app_name:
            values.pop("OTEL_SERVICE_NAME", None)
        wanted = os.environ.get("OTEL_RESOURCE_ATTRIBUTES")
        if wanted and "OTEL_RESOURCE_ATTRIBUTES" in values:
            values["OTEL_RESOURCE_ATTRIBUTES"] = f"{values['OTEL_RESOURCE_ATTRIBUTES']},{wanted}"
    refused = {n for n, v in os.environ.items() if v.strip() and not acceptable(n, v)}
    for name in sorted(refused):
        notice.line(f"dify-otel: {name}={os.environ[name][:64]!r} is not understood; using the default")
    before = {
        n: v for n, v in os.environ.items() if n in values or n in refused or (n.startswith("OTEL_") and not v.strip())
    }
    for name in before:
        del os.environ[name]
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            os.environ.pop(name, None)
        os.environ.update(before)
