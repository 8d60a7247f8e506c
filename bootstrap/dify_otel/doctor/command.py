"""`dify-otel doctor`: the words a person types, and the exit code they get."""

from __future__ import annotations

import argparse
import os
import sys

DESCRIPTION = """\
Says what of dify-otel works here and what does not: which Dify this is, what starts the agent, which
places in Dify it finds, whose spans are made, how its settings are understood, and whether the backend
takes a request. Reads Dify's source; imports nothing of it and changes nothing."""

EPILOG = """\
examples:
  docker compose exec api sh -c 'PYTHONPATH=$PYTHONPATH:/opt/dify-otel/python python -m dify_otel.cli doctor'
                                                     inside a running container of the overlay
  dify-otel doctor --dify ~/dify                     a checkout, before it is started
  dify-otel doctor --dify /app/api --python /app/api/.venv/bin/python
  dify-otel doctor --json | jq '.problems'           for machines
  dify-otel doctor --support-table                   which seam is in which Dify release

exit codes:
  0  fine     1  degraded: it works, something is missing     2  it does not work
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `dify-otel doctor`."""
    parser.description = DESCRIPTION
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--dify", metavar="DIR", help="Dify's folder or its api folder (default: here, else /app/api)")
    parser.add_argument(
        "--python", metavar="PATH", help="Dify's interpreter (default: the tree's .venv, else this one)"
    )
    parser.add_argument("--json", action="store_true", help="the whole report as JSON")
    parser.add_argument("--all", action="store_true", help="every seam and every setting")
    parser.add_argument("--no-network", action="store_true", help="do not send the request to the backend")
    parser.add_argument(
        "--timeout", type=float, default=5.0, metavar="SECONDS", help="for each step of the request (default: 5)"
    )
    parser.add_argument("--support-table", action="store_true", help="print the table of seams and releases; no check")


def run(arguments: argparse.Namespace) -> int:
    """Examine and print. Returns 0 when fine, 1 when degraded, 2 when it does not work."""
    if arguments.support_table:
        from dify_otel import support

        print(support.table())
        return 0
    from dify_otel.doctor import examination, text

    report = examination.examine(
        arguments.dify, arguments.python, network=not arguments.no_network, timeout=arguments.timeout
    )
    if arguments.json:
        print(report.as_json())
        return report.exit_code
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") in ("utf8", "utf16")
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    sys.stdout.write(text.render(report, colour=colour, unicode=unicode, details=arguments.all))
    return report.exit_code
