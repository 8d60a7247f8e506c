"""Dify's releases that dify-otel claims to work on, and what a seam's `releases` says about each of them.

Separate from the seam table, which only says from where to where: this is the list that the table is read against by
the doctor, the support table and the release tests.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from dify_otel_instrumentors.core.operation import Seam

Version = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Release:
    """One release; `engine` is the package its workflow engine lives in, `graphon` the version it pins."""

    name: str
    engine: str
    graphon: str | None = None


RELEASES: tuple[Release, ...] = (
    *(Release(n, "core.workflow") for n in ("1.6.0", "1.7.0", "1.7.1", "1.7.2", "1.8.0", "1.8.1")),
    *(Release(n, "core.workflow") for n in ("1.9.0", "1.9.1", "1.9.2", "1.10.0", "1.10.1", "1.10.1-fix.1")),
    *(Release(n, "core.workflow") for n in ("1.11.0", "1.11.1", "1.11.2", "1.11.3", "1.11.4")),
    *(Release(n, "core.workflow") for n in ("1.12.0", "1.12.1", "1.13.0")),
    *(Release(n, "dify_graph") for n in ("1.13.1", "1.13.2", "1.13.3")),
    Release("1.14.0", "graphon", "0.2.2"),
    Release("1.14.1", "graphon", "0.3.1"),
    Release("1.14.2", "graphon", "0.4.0"),
    Release("1.15.0", "graphon", "0.5.3"),
    Release("1.16.0", "graphon", "0.6.0"),
    Release("1.16.1", "graphon", "0.6.0"),
)
"""Every release from 1.6.0 on, oldest first; pre-releases left out."""

OLDEST, NEWEST = RELEASES[0].name, RELEASES[-1].name


@functools.lru_cache(maxsize=256)
def version(name: str) -> Version | None:
    """`1.10.1-fix.1` as comparable numbers, or None for what is no release number (`main`)."""
    found = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?(?:[-.]fix\.?(\d+))?", name.strip())
    return tuple(int(part or 0) for part in found.groups()) if found else None


def claims(seam: Seam, release: str) -> bool:
    """Whether the seam must be found in that release. An unknown name counts as newer than any release."""
    at = version(release)
    for span in seam.releases:
        first, _, last = span.partition("-")
        since, until = version(first), version(last) if last else None
        if at is None:
            if until is None:
                return True
        elif (since is None or since <= at) and (until is None or at <= until):
            return True
    return False


def position(release: str) -> str:
    """`known`, `older`, `newer` or `between` the releases that were looked at; `unknown` for no release number."""
    at = version(release)
    if at is None:
        return "unknown"
    known = [version(r.name) for r in RELEASES]
    if at in known:
        return "known"
    return "older" if at < (version(OLDEST) or ()) else "newer" if at > (version(NEWEST) or ()) else "between"
