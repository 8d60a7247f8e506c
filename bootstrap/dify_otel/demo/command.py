"""`dify-otel demo`: starts the stand-in application under the real bootstrap, asks it one question, prints the trace.

The stand-in (tests/standin) is Flask under gunicorn and gevent, a Celery worker and Redis, shaped like Dify 1.16 around
`graphon`, the engine Dify itself uses; models, tools and the sandbox are small local servers. So the demo runs from a
checkout only, as `make demo`.
"""

from __future__ import annotations

import argparse
import importlib
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CASE = "travel-guide"
QUERY = "Plan a day in Berlin: museums parks cafes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The demo's options."""
    parser.add_argument("--checkout", type=Path, default=Path.cwd(), help="the dify-otel checkout (default: here)")
    parser.add_argument("--html", type=Path, help="also save the trace as a page that needs no network")
    parser.add_argument("--plain", action="store_true", help="the picture without colour, for a README")


def run(arguments: argparse.Namespace) -> int:
    """Run the demo; 0 when one request was one trace, 1 when not, 2 when something it needs is missing."""
    checkout = arguments.checkout.resolve()
    if not (checkout / "tests" / "standin" / "processes.py").exists():
        print("the demo needs a checkout of dify-otel: run `make demo` there", file=sys.stderr)
        return 2
    sys.path.insert(0, str(checkout))
    processes = importlib.import_module("tests.standin.processes")
    drive = importlib.import_module("tests.standin.drive")
    why = processes.missing("sqlite")
    if why:
        print(f"the demo cannot run: {why}; `make demo` installs it", file=sys.stderr)
        return 2
    try:
        with tempfile.TemporaryDirectory(prefix="dify-otel-demo-") as folder:
            return _show(arguments, processes, drive, Path(folder))
    except (processes.StartError, ModuleNotFoundError) as error:
        why = str(error).strip().splitlines()[-1]
        print(f"the demo did not start: {why}\n`make demo` installs what it needs, in an environment of its own",
              file=sys.stderr)  # fmt: skip
        return 2


def _show(arguments: argparse.Namespace, processes: Any, drive: Any, folder: Path) -> int:
    from dify_otel.tail.command import wants_color
    from dify_otel.tail.page import page
    from dify_otel.tail.receiver import Receiver
    from dify_otel.tail.render import render
    from dify_otel.tail.tree import build_all

    inject = Path(__file__).resolve().parents[1] / "inject"
    began = time.monotonic()
    _say("starting Redis, a plugin daemon, a sandbox, gunicorn with gevent and a Celery worker …")
    with Receiver() as receiver, processes.backing(folder, sys.executable, database="sqlite") as servers:
        environment = {
            "PYTHONPATH": str(inject),
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.grpc_endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "300",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY",
        }
        with (
            processes.api(servers, environment=environment),
            processes.worker(servers, environment=environment),
        ):
            case = drive.CASES[f"{CASE}:stream"]
            case = type(case)(case.app, case.how, case.status, QUERY)
            _say(f"asking the workflow “{CASE}” one question, streamed: {QUERY}")
            outcome = drive.call(servers.base, servers.apps, case)
            receiver.wait_for(_complete, 20)
        traces = build_all(receiver.spans)
    traces.sort(key=lambda t: len(t.spans), reverse=True)
    color = not arguments.plain and wants_color("auto", sys.stdout)
    width = 110 if arguments.plain else max(100, shutil.get_terminal_size((120, 40)).columns)
    print(render(traces[0], color=color, width=width))
    if arguments.html:
        arguments.html.write_text(page(traces[0]), encoding="utf-8")
        _say(f"the same as a page: {arguments.html}")
    good = outcome.status == case.status and len(traces) == 1
    _say(
        f"{outcome.status}: the client waited {outcome.seconds:.2f} s and saw {sum(outcome.events.values())} events; "
        f"{len(traces[0].spans)} spans in {len(traces)} trace; {time.monotonic() - began:.0f} s in all."
    )
    _say(
        "README.md: three ways into your own Dify · docs/architecture.md: how it works · `dify-otel tail`: watch yours"
    )
    return 0 if good else 1


def _complete(spans: list[Any]) -> bool:
    names = [s.name for s in spans]
    return any(n.startswith("POST /v1/workflows/run") for n in names) and any(n.startswith("run/") for n in names)


def _say(words: str) -> None:
    print(f"· {words}", flush=True)
