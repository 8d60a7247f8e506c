"""The one place that swallows exceptions of ours.

Every piece of telemetry code that runs inside a Dify call stands in `try: … except Exception: guard.failed("site")`.
`Exception` only: `GeneratorExit`, `KeyboardInterrupt`, gevent's `Timeout` and `GreenletExit` belong to the application.
Silent in production but for one line a minute and site; loud (re-raised) in tests.
"""

from __future__ import annotations

import sys
from time import monotonic

LOG_INTERVAL_SECONDS = 60.0
"""At most one line a site in this time."""
SITES_MAX = 256
"""Sites remembered; a site past this bound is counted under `other`."""

_loud = False
_sites: dict[str, list[float]] = {}


def loud(on: bool) -> None:
    """Tests: let swallowed exceptions through."""
    global _loud
    _loud = on


def counts() -> dict[str, int]:
    """Failures swallowed so far, by site."""
    return {site: int(entry[1]) for site, entry in list(_sites.items())}


def failed(site: str) -> None:
    """Account for the exception being handled. Call it from an `except Exception` block and nowhere else.

    The log line names the exception's class, never its text: the text may quote what Dify was given.
    """
    if _loud:
        raise  # noqa: PLE0704 - re-raises what the caller is handling
    try:
        entry = _sites.get(site)
        if entry is None:
            if len(_sites) >= SITES_MAX:
                site = "other"
            entry = _sites.setdefault(site, [-LOG_INTERVAL_SECONDS, 0.0])
        entry[1] += 1
        now = monotonic()
        if now - entry[0] >= LOG_INTERVAL_SECONDS:
            entry[0] = now
            kind = sys.exc_info()[0]
            # Imported here: logging must not be loaded before gevent has patched threading.
            import logging

            logging.getLogger("dify_otel").warning(
                "telemetry failed at %s: %s (%d so far); Dify is not affected",
                site,
                kind.__name__ if kind else "?",
                int(entry[1]),
            )
    except Exception:  # the guard itself must hold; there is nobody left to tell
        return
