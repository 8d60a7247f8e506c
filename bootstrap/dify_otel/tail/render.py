"""A trace as text for a terminal.

One row a span: its place in the tree, a bar on the request's time line (thin until the first chunk, thick from then),
the duration, and the figures that matter for its kind. What errors say stands below them in red.
Names and messages come from anywhere, so they are cleaned first: a span name must not be able to move the cursor.
"""

from __future__ import annotations

import io
import unicodedata
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from dify_otel.tail import facts, figures
from dify_otel.tail.masking import masked_text
from dify_otel.tail.span import Span
from dify_otel.tail.tree import Node, Trace

MAX_ROWS = 150
"""Rows shown of one trace; the page shows them all."""

SIMILAR_FROM = 4
"""So many neighbours of one name without children become one row."""

_MAX_MESSAGE = 400
_MIN_WIDTH = 40
_BARS_FROM = 76
_MIN_BAR, _GOOD_BAR, _MAX_BAR = 12, 20, 46
_DURATION = 8
_MARGIN = 2

_STYLES = {
    "app": "bold",
    "workflow": "bold blue",
    "model": "magenta",
    "agent": "magenta",
    "tool": "yellow",
    "retrieval": "green",
    "embedding": "green",
    "rerank": "green",
    "node": "blue",
    "client": "cyan",
    "queue": "cyan",
    "database": "bright_black",
    "other": "bright_black",
}
_THICK = {(True, True): "━", (True, False): "╸", (False, True): "╺", (False, False): " "}
_THIN = {(True, True): "─", (True, False): "╴", (False, True): "╶", (False, False): " "}
_ODD_STATUSES = {"stopped", "paused", "partial-succeeded", "retry", "exception"}


@dataclass(frozen=True, slots=True)
class _Row:
    node: Node
    guide: str
    under: str
    """The guide for lines that belong to this row and stand below it."""
    label: Text
    details: Text
    alike: int
    end_ns: int
    duration: float


def render(trace: Trace, color: bool = True, width: int = 100) -> str:
    """The trace in lines of at most `width` columns, ending in a newline; without `color`, plain characters only."""
    width = max(_MIN_WIDTH, width)
    lines = [*_head(trace, width), Text(), *_body(trace, width), Text()]
    out = io.StringIO()
    console = Console(
        file=out,
        width=width,
        force_terminal=color,
        color_system="standard" if color else None,
        no_color=not color,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )
    for line in lines:
        line.rstrip()
        console.print(line, overflow="crop", no_wrap=True, crop=True, soft_wrap=False)
    return out.getvalue()


def _head(trace: Trace, width: int) -> list[Text]:
    said = facts.summary(trace)
    failed = bool(said.failures)
    root = trace.root.span

    when = figures.clock(trace.start_ns)
    fill = width - len(when) - len(trace.trace_id) - 10
    rule = f"── {when} " + "─" * max(1, fill) + f" {trace.trace_id} ──"

    bad = root.failed
    mark = ("✗", "bold red") if bad else ("!", "bold yellow") if failed else ("✓", "bold green")
    title = Text.assemble((mark[0], mark[1]), " ", (clean(said.app or said.title), "bold"))
    if said.mode:
        title.append(f"  {clean(said.mode)}", "dim")
    title.append(f"  {figures.seconds(trace.duration)}", "bold")
    if failed:
        title.append(f"  {figures.count(len(said.failures), 'error')}", "bold red")

    parts = []
    if said.tokens is not None:
        parts.append(_tokens(said.tokens) + " tokens")
    if said.cost:
        parts.append(figures.bill(said.cost))
    if said.first_chunk is not None:
        parts.append(f"first chunk {figures.seconds(said.first_chunk)}")
    parts += [clean(name) for name in said.models[:3]]
    if len(said.models) > 3:
        parts.append(f"{len(said.models) - 3} more models")
    parts.append(figures.count(len(trace.nodes), "span"))
    if said.services:
        parts.append(", ".join(clean(name) for name in said.services))
    lines = [Text(rule, "dim"), title, *_wrapped(parts, width)]
    if not trace.complete:
        lines.append(Text("  The first span has not been received: this may be a part of the request.", "yellow"))
    return lines


def _wrapped(parts: list[str], width: int) -> list[Text]:
    lines = [Text("  ")]
    for part in parts:
        gap = " · " if len(lines[-1]) > 2 else ""
        if gap and cell_len(lines[-1].plain) + len(gap) + cell_len(part) > width:
            lines.append(Text("  "))
            gap = ""
        lines[-1].append(gap, "dim").append(part)
    return lines


def _body(trace: Trace, width: int) -> list[Text]:
    rows = _rows(trace)
    shown = rows[:MAX_ROWS]
    names = max(cell_len(row.guide) + cell_len(row.label.plain) for row in shown)
    details = max(cell_len(row.details.plain) for row in shown)
    bars = width >= _BARS_FROM
    room = width - _MARGIN - _DURATION - 1
    if bars:
        names = min(names, max(24, room // 2))
        beside = room - names - details - 4
        bar = min(_MAX_BAR, max(_MIN_BAR, beside if beside >= _GOOD_BAR else (room - names - 4) * 6 // 10))
        details = room - names - bar - 4
    else:
        names = min(names, room)
        bar = 0
        details = room - names - 2

    lines = []
    for row in shown:
        span = row.node.span
        line = Text(" " * _MARGIN)
        line.append_text(_fitted(Text().append(row.guide, "dim").append_text(row.label), names))
        if bars:
            line.append("  ").append_text(_bar(trace, row, bar))
        line.append(figures.seconds(row.duration).rjust(_DURATION + 1), "red" if span.failed else "")
        below = row.details
        if cell_len(row.details.plain) <= max(0, details):
            line.append("  ").append_text(row.details)
            below = Text()
        lines.append(line)
        indent = Text(" " * _MARGIN).append(row.under, "dim")
        lines += [indent.copy().append_text(part) for part in _below(below, span, width - cell_len(indent.plain))]
    if len(rows) > len(shown):
        lines.append(Text(f"  … {figures.count(len(rows) - len(shown), 'more row')}; --html shows them all", "dim"))
    return lines


def _below(details: Text, span: Span, width: int) -> list[Text]:
    lines = []
    if details.plain:
        details.truncate(width, overflow="ellipsis")
        lines.append(details)
    if span.failed:
        said = ": ".join(part for part in (facts.error_type(span), facts.error_message(span)) if part)
        error = Text("✗ " + (clean(masked_text(said[:_MAX_MESSAGE])) or "failed"), "red")
        error.truncate(width, overflow="ellipsis")
        lines.append(error)
    return lines


def _rows(trace: Trace) -> list[_Row]:
    nodes = trace.nodes
    alike = _neighbours_alike(trace)
    prefixes: dict[int, str] = {-1: ""}
    rows = []
    for position, node in enumerate(nodes):
        if node.parent < 0:
            guide = prefix = ""
        else:
            above = prefixes[node.parent]
            last = nodes[node.parent].children[-1] in (position, position + alike.get(position, 1) - 1)
            guide = above + ("└╴" if last else "├╴")
            prefix = above + ("  " if last else "│ ")
        prefixes[position] = prefix
        if alike.get(position) == 0:
            continue
        same = alike.get(position, 1)
        under = prefix + ("│ " if node.children else "  ")
        if node.parent < 0:
            prefixes[position] = ""
            under = "│ " if node.children else "  "
        run = nodes[position : position + same]
        rows.append(
            _Row(
                node=node,
                guide=guide,
                under=under,
                label=_label(trace, node, same),
                details=_details(node.span) if same == 1 else Text(),
                alike=same,
                end_ns=max(one.span.end_ns for one in run),
                duration=sum(one.span.duration for one in run),
            )
        )
    return rows


def _neighbours_alike(trace: Trace) -> dict[int, int]:
    """First position of each run of like leaves -> its length; the others of the run -> 0."""
    runs: dict[int, int] = {}
    for node in trace.nodes:
        run: list[int] = []
        for child in (*node.children, -1):
            if run and (child < 0 or not _like(trace.nodes[run[0]], trace.nodes[child])):
                if len(run) >= SIMILAR_FROM:
                    runs.update(dict.fromkeys(run, 0))
                    runs[run[0]] = len(run)
                run = []
            if child >= 0:
                run.append(child)
    return runs


def _like(one: Node, other: Node) -> bool:
    plain = not (one.children or other.children or one.span.failed or other.span.failed)
    return plain and (one.span.name, one.span.service) == (other.span.name, other.span.service)


def _label(trace: Trace, node: Node, alike: int) -> Text:
    span = node.span
    name = clean(facts.label(span)) or "(no name)"
    label = Text().append(name, "bold red" if span.failed else _STYLES.get(facts.category(span), ""))
    if alike > 1:
        label.append(f" ×{alike}", "bold")
    above = trace.nodes[node.parent].span.service if node.parent >= 0 else ""
    if span.service and span.service != above:
        label.append(f"  {clean(span.service)}", "dim")
    if node.orphan and node is not trace.root:
        label.append("  parent not received", "yellow")
    return label


def _details(span: Span) -> Text:
    parts: list[tuple[str, str]] = []
    kind = facts.category(span)
    spent = facts.tokens(span) if kind in {"model", "embedding", "rerank"} else None
    if spent is not None:
        parts.append((_tokens(spent) + " tok", ""))
    paid = facts.cost(span) if kind in {"model", "embedding", "rerank"} else None
    if paid is not None:
        parts.append((figures.money(*paid), ""))
    waited = facts.first_chunk(span)
    if waited is not None:
        parts.append((f"first {figures.seconds(waited)}", ""))
    used = facts.model(span)
    if kind == "model" and used and used not in span.name:
        parts.append((clean(used), "dim"))
    found = facts.number(span, "dify.retrieval.document_count")
    if found is not None:
        parts.append((figures.count(int(found), "document"), ""))
    queued = facts.number(span, "dify.queue.wait_time")
    if queued is not None:
        parts.append((f"queued {figures.seconds(queued)}", "dim"))
    answered = facts.number(span, "http.response.status_code", "http.status_code")
    if answered is not None and answered >= 400:
        parts.append((f"HTTP {answered:.0f}", "yellow"))
    status = facts.text(span, "dify.node.status", "dify.workflow.status")
    if status in _ODD_STATUSES:
        parts.append((status, "yellow"))
    if "length" in facts.strings(span, "gen_ai.response.finish_reasons"):
        parts.append(("cut by length", "yellow"))
    if span.links:
        parts.append((figures.count(len(span.links), "link"), "dim"))
    return Text("  ").join(Text(words, style) for words, style in parts)


def _tokens(spent: facts.Tokens) -> str:
    if spent.output or not spent.total:
        return f"{spent.input:,}→{spent.output:,}"
    return f"{spent.total:,}"


def _bar(trace: Trace, row: _Row, width: int) -> Text:
    """Half-cell steps; every span shows at least half a cell."""
    span = row.node.span
    start, whole = trace.start_ns, max(1, trace.end_ns - trace.start_ns)
    steps = width * 2
    left = min(steps - 1, max(0, (span.start_ns - start) * steps // whole))
    right = min(steps, max(left + 1, -(-(row.end_ns - start) * steps // whole)))
    waited = facts.first_chunk(span)
    thick = left if waited is None else min(right - 1, left + round(waited * 1e9 * steps / whole))

    cells = []
    for cell in range(width):
        near, far = left <= cell * 2 < right, left <= cell * 2 + 1 < right
        cells.append((_THICK if cell * 2 + 1 >= thick else _THIN)[near, far])
    return Text("".join(cells), "red" if span.failed else _STYLES.get(facts.category(span), ""))


def _fitted(line: Text, width: int) -> Text:
    if cell_len(line.plain) > width:
        line.truncate(width, overflow="ellipsis")
    line.append(" " * max(0, width - cell_len(line.plain)))
    return line


def clean(words: str) -> str:
    """One line, without control characters and without marks that reorder or hide text."""
    return "".join(_visible(char) for char in words)


def _visible(char: str) -> str:
    if char in "\t\n\r\v\f\u2028\u2029":
        return " "
    if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co"} and char != "\u200d":
        return "\ufffd"
    return char
