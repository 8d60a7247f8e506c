"""Makes the pictures in the README from one real trace: `python -m tests.docs.picture`.

`trace.json` is a line of `dify-otel tail --json`, of a workflow on Dify 1.16.1. `docs/trace.svg` is what
`dify-otel tail` prints of it, `docs/trace.png` the page that `--html` saves, seen by a Chromium. Separate from the
tests, which only compare.
"""

from __future__ import annotations

import io
import json
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from dify_otel.tail.page import page
from dify_otel.tail.render import render
from dify_otel.tail.span import Event, Link, Span
from dify_otel.tail.tree import Trace, build
from rich.console import Console
from rich.text import Text

from tests.tail.browser import Browser, find

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
SAVED = HERE / "trace.json"
SVG = DOCS / "trace.svg"
PNG = DOCS / "trace.png"
WIDTH = 112

_FORMAT = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
<title>One request through Dify, as dify-otel tail shows it</title>
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; white-space: pre;
}}
.{unique_id}-title {{ font-family: system-ui, sans-serif; font-size: 18px; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""rich's own frame names a font on a server; this one asks for nothing."""


def trace(saved: Path = SAVED) -> Trace:
    """The trace that `dify-otel tail --json` printed. Raises KeyError when the line is not of that form."""
    line = json.loads(saved.read_text("utf-8"))
    start_ns = round(datetime.fromisoformat(line["start"]).timestamp() * 1e9)
    return build(_span(line["trace_id"], start_ns, one) for one in line["spans"])


def _span(trace_id: str, start_ns: int, one: dict[str, Any]) -> Span:
    begins = start_ns + round(one["offset"] * 1e9)
    return Span(
        trace_id=trace_id,
        span_id=one["span_id"],
        parent_id=one["parent_id"] or "",
        name=one["name"],
        kind=one["kind"],
        start_ns=begins,
        end_ns=begins + round(one["duration"] * 1e9),
        attributes=one["attributes"],
        status=one["status"],
        status_message=one["status_message"],
        events=tuple(Event(event["name"], begins, event["attributes"]) for event in one["events"]),
        links=tuple(Link(link["trace_id"], link["span_id"]) for link in one["links"]),
        resource={"service.name": one["service"]},
        scope=one["scope"],
    )


def svg(shown: Trace) -> str:
    """What a terminal of `WIDTH` columns shows, as a picture that needs no network."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, legacy_windows=False)
    for line in render(shown, color=True, width=WIDTH).rstrip("\n").split("\n"):
        console.print(Text.from_ansi(line), no_wrap=True, overflow="crop", highlight=False)
    return console.export_svg(title="dify-otel tail", code_format=_FORMAT, unique_id="trace")


def png(shown: Trace, file: Path) -> None:
    """The saved page in a browser, at the first model call; does nothing where there is no Chromium."""
    program = find()
    if program is None:
        return
    model = next((n.span for n in shown.nodes if n.span.name.startswith("chat ")), shown.root.span)
    with tempfile.TemporaryDirectory() as folder, Browser(program, width=1280, height=760) as browser:
        saved = Path(folder) / "page.html"
        saved.write_text(page(shown), "utf-8")
        browser.open(saved, f"#{model.span_id}")
        browser.picture(file)


if __name__ == "__main__":
    one = trace()
    SVG.write_text(svg(one), "utf-8")
    png(one, PNG)
    print(*(f"{p.stat().st_size:>7}  {p.name}" for p in (SVG, PNG) if p.exists()), sep="\n")
