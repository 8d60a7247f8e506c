"""The README's support table: which part of Dify is instrumented in which release, and how that is known.

Generated from the seam table, so that it cannot say more than the code does; which releases were run for real stands
in `docs/verified-releases.toml`, written by hand.
`python -m dify_otel.support` prints it, `--write README.md` puts it into the README.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from dify_otel_instrumentors.seams import SEAMS

from dify_otel.releases import RELEASES, Release, claims

BEGIN, END = "<!-- support-table:begin -->", "<!-- support-table:end -->"
AST_ONLY = "resolved by AST only"

FEATURES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("apps, chats", ("app.request", "app.run", "app.records", "message")),
    ("workflows, nodes", ("workflow.run", "workflow.events", "node.run")),
    ("models, tools, agents", ("model.chat", "model.embeddings", "model.rerank", "tool", "agent.run", "agent.round")),
    (
        "knowledge",
        (
            *("retrieval.vector", "retrieval.keyword", "retrieval.external"),
            *("indexing.run", "indexing.split", "indexing.load", "indexing.segments"),
        ),
    ),
    ("sandbox, moderation", ("sandbox", "moderation")),
    ("knowledge pipelines", ("app.pipeline", "workflow.pipeline", "indexing.pipeline")),
    ("triggers", ("trigger",)),
    ("multimodal", ("model.multimodal_embeddings", "model.multimodal_rerank", "retrieval.file")),
    ("agent apps", ("app.agent", "agent.backend", "agent.backend_events")),
)
"""Columns and the seams (or groups of seams) they stand for; all of a column's are claimed, or the cell says so."""


def verified(file: Path | None = None) -> Mapping[str, str]:
    """How each release was verified, by release; empty without the file (outside a checkout)."""
    file = file or Path(__file__).resolve().parents[2] / "docs" / "verified-releases.toml"
    try:
        with file.open("rb") as stream:
            return {name: str(how) for name, how in tomllib.load(stream).get("releases", {}).items()}
    except OSError:
        return {}


def table(how: Mapping[str, str] | None = None) -> str:
    """The table in Markdown: a row a run of releases that have the same seams and were verified alike.

    `places` counts the seams; `–` means that the release has no such feature.
    """
    known = verified() if how is None else how
    rows = [
        "| Dify | workflow engine | places | " + " | ".join(column for column, _ in FEATURES) + " | verified |",
        "|---|---|---|" + "---|" * (len(FEATURES) + 1),
    ]
    for run in _runs(known):
        first, last = run[0], run[-1]
        name = first.name if first is last else f"{first.name} – {last.name}"
        places = sum(claims(s, first.name) for s in SEAMS)
        cells = [str(places), *(_cell(names, first) for _, names in FEATURES)]
        rows.append(f"| {name} | {_engine(run)} | {' | '.join(cells)} | {known.get(first.name, AST_ONLY)} |")
    return "\n".join(rows)


def _runs(known: Mapping[str, str]) -> list[list[Release]]:
    runs: list[list[Release]] = []
    for release in RELEASES:
        if runs and _same(runs[-1][-1], release, known):
            runs[-1].append(release)
        else:
            runs.append([release])
    return runs


def _same(a: Release, b: Release, known: Mapping[str, str]) -> bool:
    seams = all(claims(s, a.name) == claims(s, b.name) for s in SEAMS)
    return seams and a.engine == b.engine and known.get(a.name, AST_ONLY) == known.get(b.name, AST_ONLY)


def _engine(run: Sequence[Release]) -> str:
    pins = list(dict.fromkeys(r.graphon for r in run if r.graphon))
    return f"`{run[0].engine}`{f' {pins[0]}' if len(pins) == 1 else f' {pins[0]} – {pins[-1]}' if pins else ''}"


def _cell(names: tuple[str, ...], release: Release) -> str:
    """`✓`, or `–` where that release of Dify has no such feature."""
    seams = [s for s in SEAMS if s.name in names or s.name.partition(".")[0] in names]
    there = sum(claims(s, release.name) for s in seams)
    return "–" if not there else "✓" if there == len(seams) else f"{there} of {len(seams)}"


def embedded(readme: str) -> str | None:
    """The table between the markers of a README, or None without markers."""
    if BEGIN not in readme or END not in readme:
        return None
    return readme.split(BEGIN, 1)[1].split(END, 1)[0].strip()


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table, or put it between the markers of a file. Returns 0, or 2 without markers."""
    parser = argparse.ArgumentParser("python -m dify_otel.support", description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE", help="replace the table between the markers of this file")
    arguments = parser.parse_args(argv)
    if arguments.write is None:
        print(table())
        return 0
    text = arguments.write.read_text("utf-8")
    if embedded(text) is None:
        print(f"{arguments.write} has no {BEGIN} … {END}", file=sys.stderr)
        return 2
    before, rest = text.split(BEGIN, 1)
    arguments.write.write_text(f"{before}{BEGIN}\n{table()}\n{END}{rest.split(END, 1)[1]}", "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
