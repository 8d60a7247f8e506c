"""The report for a person: 80 columns, what is wrong first, colour only where it is welcome."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator, Mapping
from typing import Any

from dify_otel.doctor.examination import BROKEN, DEGRADED, NOTE, Report

WIDTH = 80
_LABEL = 20

_VERDICT = {
    "ok": "everything is in place",
    DEGRADED: "it works, with losses",
    BROKEN: "it does not work",
}
_MARKS = {BROKEN: "✗", DEGRADED: "!", NOTE: "·", "ok": "✓"}
_PLAIN_MARKS = {BROKEN: "x", DEGRADED: "!", NOTE: "-", "ok": "+"}
_COLOURS = {BROKEN: "31", DEGRADED: "33", NOTE: "36", "ok": "32"}


def render(report: Report, *, colour: bool = False, unicode: bool = True, details: bool = False) -> str:
    """The report as text; `details` adds every seam and setting."""
    marks = _MARKS if unicode else _PLAIN_MARKS

    def mark(severity: str) -> str:
        sign = marks[severity]
        return f"\x1b[{_COLOURS[severity]}m{sign}\x1b[0m" if colour else sign

    def heading(words: str) -> str:
        return f"\x1b[1m{words}\x1b[0m" if colour else words

    lines = [f"dify-otel {report.version} doctor", ""]
    for title, rows in _sections(report, details):
        lines.append(heading(title))
        for label, value in rows:
            lines += _row(label, value)
        lines.append("")
    lines.append(heading("Findings"))
    order = {BROKEN: 0, DEGRADED: 1, NOTE: 2}
    for problem in sorted(report.problems, key=lambda p: order[p.severity]):
        lines += _wrapped(f"{problem.about}: {problem.text}", f"  {mark(problem.severity)} ", "    ", 4)
        if problem.advice:
            lines += _wrapped(problem.advice, "    → " if unicode else "    > ", "      ", 6)
    lines.append(f"  {mark(report.status)} {_VERDICT[report.status]} (exit code {report.exit_code})")
    text = "\n".join(lines) + "\n"
    return text if unicode else text.encode("ascii", "replace").decode("ascii")


def _sections(report: Report, details: bool) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    packages: Mapping[str, Any] = report.python.get("packages") or {}
    release = report.dify["release"] or "unknown"
    yield (
        "Dify",
        [
            ("release", f"{release} (found by {report.dify['found_by']})"),
            ("tree", report.dify["api"] or "none"),
            ("role", f"{report.role.get('role')} (found by {report.role.get('found_by')})"),
            *(
                ("process", f"{p['pid']} {p['role']}: {_taking_part(p['instrumented'])}")
                for p in report.processes[: None if details else 6]
            ),
        ],
    )
    versions = [
        f"{name.removeprefix('opentelemetry-')} {packages[name]}"
        for name in ("opentelemetry-sdk", "opentelemetry-instrumentation", "gevent", "grpcio", "graphon")
        if packages.get(name)
    ]
    yield (
        "Python",
        [
            ("interpreter", f"{report.python['path']} ({report.python['version'] or 'unknown version'})"),
            ("packages", ", ".join(versions) or "unknown"),
        ],
    )
    yield (
        "Start",
        [
            ("door", f"{report.door['kind']} ({report.door['how']})"),
            ("switched", "on" if report.door["enabled"] else "off"),
            *((name, value) for name, value in report.spans.items()),
        ],
    )
    if report.telemetry:
        shown = report.telemetry[: None if details else 6]
        yield ("Running", [(f"{p['role']}, pid {p['pid']}", _running(p)) for p in shown])
    yield ("Seams", _seams(report, details))
    told = [s for s in report.settings if details or s.source == "environment"]
    rows = [(s.name, f"{s.value or 'unset'}{'' if s.source == 'environment' else ' (default)'}") for s in told]
    rest = len(report.settings) - len(told)
    rows += [("", f"{rest} at their defaults (--all shows them)")] if rest else []
    yield (f"Settings ({report.settings_from})", rows)
    answer = report.backend
    took = f" in {answer['seconds']:g} s" if answer.get("seconds") else ""
    yield (
        "Export",
        [
            ("to", answer.get("target") or "nowhere"),
            ("request", f"{answer.get('text')}{took}"),
            ("sampling", report.sampling),
            ("dropped spans", report.dropped),
        ],
    )


def _taking_part(instrumented: bool | None) -> str:
    return (
        "its environment is not readable"
        if instrumented is None
        else ("with dify-otel" if instrumented else "without dify-otel")
    )


def _running(said: Mapping[str, Any]) -> str:
    spans, to = said["spans"], f" to {said['endpoint']}" if said["endpoint"] else ""
    if spans is None:
        counts = "spans not counted"
    else:
        reasons = ", ".join(f"{reason} {number}" for reason, number in spans["dropped"].items() if number)
        lost = sum(spans["dropped"].values())
        counts = f"{spans['exported']} spans exported, {lost or 'none'} dropped{f' ({reasons})' if reasons else ''}"
    since = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(said["started"]))
    return (
        f"{counts}; by {said['door'] or 'an unknown door'}, Dify {said['dify']}, "
        f"{said['seams_on']} of {said['seams_total']} seams, {said['exporter']}{to}, since {since}"
    )


def _seams(report: Report, details: bool) -> list[tuple[str, str]]:
    if not report.seams:
        return [("", "not looked for: no tree")]
    count: dict[str, int] = {}
    for seam in report.seams:
        count[seam.state] = count.get(seam.state, 0) + 1
    rows = [("", ", ".join(f"{number} {state}" for state, number in count.items()))]
    for seam in report.seams:
        if seam.state in ("found", "not in this release") and not details:
            continue
        at = ", ".join(seam.found) or seam.detail or f"lost: {seam.lost}"
        rows.append((seam.name, f"{seam.state}: {at}"))
    return rows


def _row(label: str, value: str) -> list[str]:
    if len(label) <= _LABEL:
        return _wrapped(value, f"  {label:<{_LABEL}}", " " * (_LABEL + 2), 0)
    one = f"  {label}  {value}"
    return [one] if len(one) <= WIDTH else [f"  {label}", *_wrapped(value, "      ", "      ", 0)]


def _wrapped(text: str, first: str, rest: str, hidden: int) -> list[str]:
    """`text` in lines; `first` may hold colour codes, `hidden` is its visible width then."""
    width = max(WIDTH - (hidden or len(first)), 20)
    parts = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]
    return [first + parts[0], *(rest + part for part in parts[1:])]
