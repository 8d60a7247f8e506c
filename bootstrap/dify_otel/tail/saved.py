"""Where pages go: one file that is always the latest request, or a directory with one file a request and a list.

Pages may hold prompts, so only their owner may read them, and a page is never seen half written.
"""

from __future__ import annotations

import html
import os
import re
import tempfile
import time
from collections import OrderedDict
from pathlib import Path

from dify_otel.tail import facts, figures
from dify_otel.tail.page import page
from dify_otel.tail.tree import Trace

MAX_LISTED = 1_000
"""Requests in a directory's index.html; the pages themselves stay."""


class Pages:
    """`where` is a directory when it is one, ends in a slash or has no .html ending; otherwise one file."""

    def __init__(self, where: str) -> None:
        self.path = Path(where)
        self.is_directory = self.path.is_dir() or where.endswith(("/", os.sep)) or self.path.suffix != ".html"
        self._listed: OrderedDict[str, str] = OrderedDict()

    def prepare(self) -> None:
        """Make the directory. Raises OSError, so that this fails before the first request and not at it."""
        directory = self.path if self.is_directory else self.path.parent
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass

    def save(self, trace: Trace) -> Path:
        """The file written. Raises OSError."""
        if not self.is_directory:
            write_whole(self.path, page(trace))
            return self.path
        said = facts.summary(trace)
        path = self.path / f"{_stamp(trace.start_ns)}-{_slug(said.app or said.title)}-{trace.trace_id[:8]}.html"
        write_whole(path, page(trace))
        self._listed[path.name] = _item(path.name, trace, said)
        while len(self._listed) > MAX_LISTED:
            self._listed.popitem(last=False)
        write_whole(self.path / "index.html", _INDEX.replace("{{items}}", "\n".join(reversed(self._listed.values()))))
        return path


def write_whole(path: Path, text: str) -> None:
    """The file has the old text or the new one, never a part; readable by its owner only. Raises OSError."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(handle, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _stamp(time_ns: int) -> str:
    return time.strftime("%Y%m%d-%H%M%S", time.localtime(time_ns / 1e9))


def _slug(words: str) -> str:
    """For a file name: letters and digits of any script, at most 80 bytes."""
    plain = re.sub(r"[^\w]+", "-", words.lower()).strip("-_")[:40]
    return plain.encode()[:80].decode(errors="ignore") or "request"


def _item(name: str, trace: Trace, said: facts.Summary) -> str:
    figures_shown = [figures.seconds(trace.duration)]
    if said.tokens is not None:
        figures_shown.append(f"{said.tokens.total:,} tokens")
    if said.cost:
        figures_shown.append(figures.bill(said.cost))
    state = " class=bad" if said.failures else ""
    cells = (figures.clock(trace.start_ns), said.app or said.title, " · ".join(figures_shown))
    when, title, rest = (html.escape(cell) for cell in cells)
    return f'<li{state}><a href="{html.escape(name)}"><time>{when}</time><b>{title}</b><span>{rest}</span></a></li>'


_INDEX = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>Requests · dify-otel</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<style>
body { font: 14px/1.5 Inter, system-ui, -apple-system, "Segoe UI", "Liberation Sans", sans-serif;
  max-width: 900px; margin: 40px auto; padding: 0 20px;
  color: light-dark(#14161b, #eceef3); background: light-dark(#ffffff, #13161c); }
h1 { font-size: 22px; letter-spacing: -.02em; } ul { list-style: none; padding: 0; }
li { border-top: 1px solid light-dark(#e4e6eb, #262b35); }
a { display: flex; gap: 16px; padding: 10px 6px; color: inherit; text-decoration: none; }
a:hover { background: light-dark(#f6f6fa, #181c24); } b { flex: 1; font-weight: 550; }
time, span { color: light-dark(#6b7280, #8a93a4); font-variant-numeric: tabular-nums; }
.bad b { color: light-dark(#d92d20, #ff7a70); }
</style>
<h1>Requests</h1>
<ul>
{{items}}
</ul>
</html>
"""
