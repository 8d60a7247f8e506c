"""The status of a process in a small file, for the doctor: role, door, seams, exporter, what became of its spans.

No port of ours listens, so nobody can ask a running process; instead each keeps one file of some hundred bytes,
written at its start and in its exporting thread's own turn when counts have changed, removed at its end. Whatever fails
(read-only, disk full) is silent. Writer and reader stand together because they must agree; neither imports the SDK.
Nothing secret goes in: of the endpoint only host and port.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

WRITE_SECONDS = 1.0
"""Shortest time between two writes; below the time between two exports, so that the last counts get written."""
RETRY_SECONDS = 60.0
"""Rest after a write that failed."""
MOST_BYTES = 16_384
MOST_ENTRIES = 5_000
"""Entries of the folder that are looked at: a temp folder may hold anything."""
MOST_FILES = 256

_OFF = ("off", "false", "0", "no")
_TEXTS = ("version", "role", "door", "dify", "exporter", "endpoint", "content")
_NUMBERS = ("pid", "started", "updated", "seams_on", "seams_total")
_PREFIX = "dify-otel-"


def folder(chosen: str, environ: Mapping[str, str]) -> Path | None:
    """Where status files are, by the setting `DIFY_OTEL_STATUS_DIR`; None when there are to be none."""
    if chosen.strip().lower() in _OFF:
        return None
    return Path(chosen.strip() or environ.get("TMPDIR") or "/tmp")


def address(endpoint: str) -> str:
    """Host and port of an endpoint, and nothing that could be a secret."""
    try:
        parts = urlsplit(endpoint if "://" in endpoint else f"//{endpoint}")
        return f"{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}"
    except ValueError:
        return ""


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9.]", "_", socket.gethostname())[:64]


def _born(pid: int) -> int:
    """When a process started, in the kernel's ticks: tells a process from a later one with its number. 0: unknown."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


class Keeper:
    """The file of this process. `now()` gives what changes: seams and spans. Nothing of this raises or waits."""

    def __init__(self, place: Path | None, facts: Mapping[str, Any], now: Callable[[], Mapping[str, Any]]) -> None:
        self._pid = os.getpid()
        self._name = f"{_PREFIX}{_host()}-{self._pid}.json"
        self._place = place
        self._facts = {**facts, "pid": self._pid, "born": _born(self._pid), "started": int(time.time())}
        self._now = now
        self._due = 0.0
        self._last: Mapping[str, Any] | None = None
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Write the first one; take away what dead processes of this machine left."""
        if self._place is not None:
            _sweep(self._place)
            self.turn()

    def turn(self) -> None:
        """Called by the exporting thread when it has exported: write when something changed and it is time."""
        if self._place is None or time.monotonic() < self._due or os.getpid() != self._pid:
            return
        if not self._lock.acquire(blocking=False):
            return
        try:
            current = self._now()
            if current != self._last:
                self._write(self._place, {**self._facts, **current, "updated": int(time.time())})
                self._last = current
            self._due = time.monotonic() + WRITE_SECONDS
        except Exception:
            self._due = time.monotonic() + RETRY_SECONDS
        finally:
            self._lock.release()

    def end(self) -> None:
        """Remove it. A forked copy leaves its parent's alone."""
        place, self._place = self._place, None
        if place is not None and os.getpid() == self._pid:
            with contextlib.suppress(OSError):
                os.unlink(place / self._name)

    def _write(self, place: Path, facts: Mapping[str, Any]) -> None:
        partial = place / f".{self._name}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)
        # The folder is everybody's: never write through a link that somebody laid there.
        file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.write(file, json.dumps(facts).encode())
        finally:
            os.close(file)
        os.replace(partial, place / self._name)


def _files(place: Path, hidden: bool = False) -> list[tuple[int, Path]]:
    """Number of the process and path of each status file in a folder that this machine's processes wrote."""
    host = re.escape(f"{_PREFIX}{_host()}")
    shape = re.compile(rf"\.?{host}-(\d{{1,9}})\.json(\.new)?" if hidden else rf"{host}-(\d{{1,9}})\.json")
    found: list[tuple[int, Path]] = []
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        for number, entry in enumerate(entries):
            if number >= MOST_ENTRIES or len(found) >= MOST_FILES:
                break
            match = shape.fullmatch(entry.name)
            if match:
                found.append((int(match.group(1)), place / entry.name))
    return found


def _sweep(place: Path) -> None:
    for pid, path in _files(place, hidden=True):
        if not os.path.exists(f"/proc/{pid}"):
            with contextlib.suppress(OSError):
                os.unlink(path)


def read(places: Iterable[Path]) -> tuple[list[dict[str, Any]], int]:
    """The status of each living process of this machine, by number, and how many files could not be read.

    Believes nothing: only regular files of the process's own user, of bounded size, with known fields.
    """
    found: dict[int, dict[str, Any]] = {}
    unreadable = 0
    for place in dict.fromkeys(places):
        for pid, path in _files(place):
            try:
                said = _read(path, pid)
            except PermissionError:
                unreadable += 1
                continue
            except (OSError, ValueError):
                continue
            if said is not None:
                found[pid] = said
    return [found[pid] for pid in sorted(found)], unreadable


def _read(path: Path, pid: int) -> dict[str, Any] | None:
    owner = _user(pid)
    if owner is None:
        return None
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        about = os.fstat(file)
        if not stat.S_ISREG(about.st_mode) or about.st_size > MOST_BYTES or about.st_uid != owner:
            return None
        said = json.loads(os.read(file, MOST_BYTES))
    finally:
        os.close(file)
    if not isinstance(said, dict) or said.get("pid") != pid or said.get("born") not in (0, _born(pid)):
        return None
    spans = said.get("spans")
    clean: dict[str, Any] = {n: _text(said.get(n)) for n in _TEXTS} | {n: _number(said.get(n)) for n in _NUMBERS}
    clean["spans"] = None
    if isinstance(spans, dict):
        dropped = spans.get("dropped")
        reasons = dropped if isinstance(dropped, dict) else {}
        clean["spans"] = {
            "exported": _number(spans.get("exported")),
            "dropped": {_text(r): _number(n) for r, n in list(reasons.items())[:16]},
        }
    return clean


def _user(pid: int) -> int | None:
    """The user a process runs as, None when there is no such process."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as lines:
            return next(int(line.split()[2]) for line in lines if line.startswith("Uid:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return None


def _text(value: object) -> str:
    """Printable, short: a terminal shows it."""
    return "".join(c for c in str(value or "") if c.isprintable())[:128]


def _number(value: object) -> int:
    return int(value) if isinstance(value, int | float) and abs(value) < 1e15 else 0
