"""One line on standard error: what a person who starts Dify should see, before any logging is set up.

Standard error may be closed, full (a container's log volume) or absent; a line that cannot be written is given up. Kept
apart from logging because most of these lines are written before logging may be imported.
"""

from __future__ import annotations

import sys


def line(text: str) -> None:
    """Write `dify-otel: …` or give up. Never raises."""
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except Exception:
        return
