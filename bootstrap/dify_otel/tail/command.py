"""`dify-otel tail`: the words a person types and what they get back.

Imports nothing beyond the standard library until it runs, so that `dify-otel --help` works without the extra.
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import json
import math
import os
import queue
import re
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

if TYPE_CHECKING:
    from dify_otel.tail.arrivals import Shown
    from dify_otel.tail.saved import Pages
    from dify_otel.tail.span import Span
    from dify_otel.tail.tree import Trace

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_TIMEOUT = 3
EXIT_INTERRUPTED = 130

GRPC_PORT = 4317
HTTP_PORT = 4318
IDLE_SECONDS = 2.0
HINT_SECONDS = 30.0
"""Silence after which a person at a terminal gets advice."""

MAX_WAITING = 200
"""Export requests between the receiver and the terminal; a sender waits when a slow terminal falls that far behind."""

_TICK_SECONDS = 0.1
_HAND_OVER_SECONDS = 5.0

MISSING_EXTRA = """\
dify-otel tail needs three libraries that the agent itself does without. Install them beside it (not into Dify) with

    {python} -m pip install rich grpcio opentelemetry-proto

(missing: {name})"""

DESCRIPTION = """\
Shows every request through Dify as a tree, as it ends: how long each step took, tokens, cost,
time to the first chunk, models, errors. Receives OTLP on this machine; no account, no database."""

EPILOG = """\
the first tree:
  1. here:          dify-otel tail
  2. Dify on this   OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317
     machine:
     Dify in        OTEL_EXPORTER_OTLP_ENDPOINT=http://host.docker.internal:4317
     Docker:        On Linux also give the service  extra_hosts: ["host.docker.internal:host-gateway"]
                    and listen on the bridge:       dify-otel tail --host 172.17.0.1
  3. use an app. Its tree appears about {idle:g} s after its spans have arrived; Dify sends them every few seconds
     (OTEL_BSP_SCHEDULE_DELAY=500 makes that half a second).

reading a tree:
  ━━━ the time of a span; ─── the part of it before the first chunk came
  812→164 tok   tokens in → out          ×12   twelve alike in a row
  ✓ all went well   ! something failed on the way   ✗ the request failed

examples:
  dify-otel tail --errors                      only requests in which something failed
  dify-otel tail --app 'Support*' --slow 5s    only this app, only from five seconds on
  dify-otel tail --html traces/                save a page for each request (prompts, answers, search)
  dify-otel tail --once 1 --json | jq .tokens  wait for one request, as data
  dify-otel tail --ui phoenix                  see it in Phoenix as well

exit status:
  0 ended as asked   1 could not listen, write or start   2 wrong use, or something is not installed
  3 --timeout passed first   130 interrupted before --once was reached

Prompts and answers appear on saved pages only when Dify records them:
OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=SPAN_ONLY. Keys and signatures are masked."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything `run` reads, with help."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = DESCRIPTION
    parser.epilog = EPILOG.format(idle=IDLE_SECONDS)

    listen = parser.add_argument_group("where to listen")
    listen.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address to listen on (default 127.0.0.1; anything else is open to that network)",
    )
    listen.add_argument(
        "--grpc-port",
        type=_port,
        default=GRPC_PORT,
        metavar="PORT",
        help=f"OTLP over gRPC (default {GRPC_PORT}; 0 takes a free one)",
    )
    listen.add_argument(
        "--http-port",
        type=_port,
        default=HTTP_PORT,
        metavar="PORT",
        help=f"OTLP over HTTP, protobuf (default {HTTP_PORT}; 0 takes a free one)",
    )
    listen.add_argument(
        "--port-file", metavar="FILE", help='write {"grpc": …, "http": …} here once listening, for scripts'
    )

    choose = parser.add_argument_group("which requests")
    choose.add_argument(
        "--app",
        action="append",
        default=[],
        metavar="NAME",
        help="only this app: name or id, any case, * and ? allowed; may be given again",
    )
    choose.add_argument("--errors", action="store_true", help="only requests in which something failed")
    choose.add_argument(
        "--slow",
        type=duration,
        default=0.0,
        metavar="TIME",
        help="only requests that took at least this long: 800ms, 5s, 2m",
    )

    show = parser.add_argument_group("how to show them")
    show.add_argument("--json", action="store_true", help="one JSON object a line instead of trees")
    show.add_argument(
        "--html",
        metavar="FILE|DIR",
        help="also save a page: FILE.html is always the latest request, DIR gets one each and a list",
    )
    show.add_argument(
        "--ui",
        choices=("phoenix", "jaeger"),
        help="also start this backend, if you have it, and pass everything on to it",
    )
    show.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="colours (default auto: on a terminal, unless NO_COLOR is set)",
    )
    show.add_argument("--width", type=_width, metavar="COLUMNS", help="width of the trees (default: the terminal's)")

    end = parser.add_argument_group("when")
    end.add_argument("--once", type=_positive, metavar="N", help="end after N requests have been shown")
    end.add_argument(
        "--timeout",
        type=duration,
        metavar="TIME",
        help="end after this time in any case (status 3 if --once was not reached)",
    )
    end.add_argument(
        "--idle",
        type=duration,
        default=IDLE_SECONDS,
        metavar="TIME",
        help=f"how long a request must have been quiet before it is shown (default {IDLE_SECONDS:g}s); "
        "spans that come later still bring the tree again",
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs until it is done or stopped; returns the exit status."""
    # gRPC writes its own complaint about a taken port to stderr; ours says what to do.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        import google.protobuf
        import grpc
        import opentelemetry.proto
        import rich

        del google, grpc, opentelemetry, rich
    except ImportError as error:
        return _complain(MISSING_EXTRA.format(name=error.name, python=sys.executable), EXIT_USAGE)

    from dify_otel.tail.backend import Backend, DidNotStart, NotInstalled, plan
    from dify_otel.tail.receiver import PortTaken, Receiver
    from dify_otel.tail.saved import Pages, write_whole

    pages = Pages(arguments.html) if arguments.html else None
    notes = _Notes(sys.stderr)
    arrived: queue.Queue[list[Span]] = queue.Queue(MAX_WAITING)

    def take(spans: list[Span]) -> None:
        arrived.put(spans, timeout=_HAND_OVER_SECONDS)

    with _Stop() as stop, contextlib.ExitStack() as stack:
        try:
            if pages is not None:
                pages.prepare()
            backend = None
            if arguments.ui:
                chosen = plan(arguments.ui)
                log = stack.enter_context(
                    tempfile.NamedTemporaryFile(prefix=f"dify-otel-{arguments.ui}-", suffix=".log", delete=False)
                )
                notes.say(f"starting {chosen.name}, the first time a minute or more (its log: {log.name}) …")
                backend = stack.enter_context(Backend(chosen, log.file))
                # Only the log of a backend that did not come up is worth keeping.
                stack.callback(os.unlink, log.name)
            receiver = stack.enter_context(
                Receiver(
                    host=arguments.host,
                    grpc_port=arguments.grpc_port,
                    http_port=arguments.http_port,
                    keep=0,
                    on_spans=take,
                    on_request=backend.pass_on if backend else None,
                )
            )
            if arguments.port_file:
                ports = {"grpc": receiver.grpc_port, "http": receiver.http_port}
                write_whole(Path(arguments.port_file), json.dumps(ports) + "\n")
        except NotInstalled as error:
            return _complain(str(error), EXIT_USAGE)
        except DidNotStart as error:
            return _complain(f"dify-otel tail: {error}", EXIT_FAILED)
        except PortTaken as error:
            return _complain(_port_advice(error.port, error.protocol, str(error)), EXIT_FAILED)
        except OSError as error:
            return _complain(f"dify-otel tail: {error.strerror}: {error.filename}", EXIT_FAILED)
        except KeyboardInterrupt:
            return EXIT_INTERRUPTED

        stop.following = True
        notes.say(f"listening: gRPC {receiver.grpc_endpoint}  HTTP {receiver.http_endpoint}")
        if backend is not None:
            notes.say(f"{backend.plan.name}: {backend.plan.ui}")
        if not _loopback(arguments.host):
            notes.say(f"{arguments.host} is more than this machine: whoever reaches it can send spans here")
        notes.say("point Dify here with OTEL_EXPORTER_OTLP_ENDPOINT, then use an app. Ctrl-C ends.")
        return _follow(arguments, arrived, _Output(arguments, pages, notes), notes, stop)


def _follow(
    arguments: argparse.Namespace, arrived: queue.Queue[list[Span]], output: _Output, notes: _Notes, stop: _Stop
) -> int:
    from dify_otel.tail.arrivals import Arrivals

    arrivals = Arrivals(arguments.idle)
    started = time.monotonic()
    ends = math.inf if arguments.timeout is None else started + arguments.timeout
    advised = False
    try:
        while not stop.asked and time.monotonic() < ends:
            with contextlib.suppress(queue.Empty):
                arrivals.add(arrived.get(timeout=_TICK_SECONDS), time.monotonic())
                advised = True
            if output.show(arrivals.due(time.monotonic())):
                return EXIT_DONE
            if not advised and time.monotonic() - started > HINT_SECONDS:
                notes.advise()
                advised = True
        # A sender has been told that these arrived: they are shown, finished or not.
        with contextlib.suppress(queue.Empty):
            while True:
                arrivals.add(arrived.get_nowait(), time.monotonic())
        if output.show(arrivals.rest()) or not arguments.once:
            return EXIT_DONE
        return EXIT_INTERRUPTED if stop.asked else EXIT_TIMEOUT
    except BrokenPipeError:
        # `tail | head` is a normal end. What Python would still flush at exit has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_DONE
    except OSError as error:
        return _complain(f"dify-otel tail: {error.strerror}: {error.filename}", EXIT_FAILED)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


class _Output:
    """Trees or JSON on stdout, pages in files; counts what was shown."""

    def __init__(self, arguments: argparse.Namespace, pages: Pages | None, notes: _Notes) -> None:
        self._arguments = arguments
        self._pages = pages
        self._notes = notes
        self._color = wants_color(arguments.color, sys.stdout)
        self._seen = 0
        with contextlib.suppress(AttributeError, ValueError):
            # A terminal without these characters gets question marks, not a traceback.
            sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]

    def show(self, due: list[Shown]) -> bool:
        """True once as many requests as --once asks for have been shown."""
        from dify_otel.tail.render import render
        from dify_otel.tail.report import line

        for one in due:
            if not self._wanted(one.trace):
                continue
            if self._arguments.json:
                print(line(one.trace, one.again), flush=True)
            else:
                if one.again:
                    print("  (again, with the spans that came late)")
                print(render(one.trace, self._color, self._columns()), end="", flush=True)
                if one.left_out:
                    print(f"  {one.left_out:,} more spans of this request were not kept\n", flush=True)
            if self._pages is not None:
                self._notes.say(f"saved {self._pages.save(one.trace)}")
            self._seen += not one.again
            if self._arguments.once and self._seen >= self._arguments.once:
                return True
        return False

    def _wanted(self, trace: Trace) -> bool:
        return wanted(trace, self._arguments.app, self._arguments.errors, self._arguments.slow)

    def _columns(self) -> int:
        given: int | None = self._arguments.width
        return given or min(160, shutil.get_terminal_size((100, 24)).columns)


@dataclass(frozen=True, slots=True)
class _Notes:
    """What is said to the person, on stderr, so that stdout stays trees or JSON."""

    stream: TextIO

    def say(self, words: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            print(f"dify-otel tail: {words}", file=self.stream, flush=True)

    def advise(self) -> None:
        if not self.stream.isatty():
            return
        self.say(f"nothing has arrived in {HINT_SECONDS:g} s. Three things to look at:")
        self.say("  - does Dify run with dify-otel?  dify-otel doctor  tells")
        self.say("  - is OTEL_EXPORTER_OTLP_ENDPOINT this address, seen from Dify's container? (--help shows Docker)")
        self.say("  - does its protocol fit the port: grpc to the first, http/protobuf to the second?")


def wanted(trace: Trace, apps: list[str], errors: bool, slow: float) -> bool:
    """Whether the filters let this request through. `apps` are patterns; `slow` is in seconds."""
    from dify_otel.tail import facts

    said = facts.summary(trace)
    if errors and not said.failures:
        return False
    if trace.duration < slow:
        return False
    names = [said.app.casefold(), said.app_id.casefold()]
    return not apps or any(fnmatch.fnmatchcase(name, app.casefold()) for app in apps for name in names if name)


def wants_color(asked: str, stream: TextIO) -> bool:
    """`--color`, then NO_COLOR and FORCE_COLOR when set to anything, then whether this is a terminal that can."""
    if asked != "auto":
        return asked == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def duration(words: str) -> float:
    """Seconds from `800ms`, `5s`, `2m`, `1h` or a bare number of seconds. Raises argparse.ArgumentTypeError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)\s*(ms|s|m|h)?", words.strip().lower())
    if found is None:
        raise argparse.ArgumentTypeError(f"{words!r} is no time: write 800ms, 5s or 2m")
    return float(found[1]) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600, None: 1}[found[2]]


def _port(words: str) -> int:
    if not words.isdecimal() or int(words) > 65535:
        raise argparse.ArgumentTypeError(f"{words!r} is no port: 0 to 65535")
    return int(words)


def _positive(words: str) -> int:
    if not words.isdecimal() or int(words) < 1:
        raise argparse.ArgumentTypeError(f"{words!r}: a number from 1")
    return int(words)


def _width(words: str) -> int:
    if not words.isdecimal() or not 40 <= int(words) <= 500:
        raise argparse.ArgumentTypeError(f"{words!r}: columns, 40 to 500")
    return int(words)


class _Stop:
    """Ctrl-C and SIGTERM: while starting they interrupt, later the first asks to end and a second one interrupts."""

    def __init__(self) -> None:
        self.asked = False
        self.following = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        with contextlib.suppress(ValueError):  # Not the main thread: whoever called us there handles signals.
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: object) -> None:
        if self.asked or not self.following:
            raise KeyboardInterrupt
        self.asked = True


def _loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _port_advice(port: int, protocol: str, said: str) -> str:
    option = "--grpc-port" if protocol == "gRPC" else "--http-port"
    return (
        f"dify-otel tail: {said}.\n"
        f"Another collector or another `dify-otel tail` may be running. Stop it, or listen elsewhere:\n"
        f"    dify-otel tail {option} {port + 10000 if port + 10000 < 65536 else 0}\n"
        f"and give Dify that port in OTEL_EXPORTER_OTLP_ENDPOINT."
    )


def _complain(words: str, status: int) -> int:
    print(words, file=sys.stderr, flush=True)
    return status
