"""Every function of the bootstrap raises in turn, under a web application with all that the agent puts around it.

`test_chaos.py` does the same to the instrumentors, from within. Here the whole agent runs (`chaos_program.py`): import
hooks, SDK, exporters and their threads, instrumentations, log handler, status file, the end of the process; what a WSGI
server sees of each request is compared with a run without us: status, headers, pieces and their order, exceptions.
"""

from __future__ import annotations

import ast
import functools
import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BOOTSTRAP = ROOT / "bootstrap" / "dify_otel"
PROGRAM = Path(__file__).with_name("chaos_program.py")
AT_ONCE = 3

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring is of Python 3.12")

BOUNDARY: Mapping[str, frozenset[str]] = {
    # Called by Dify, or by a library in the middle of Dify's own call: they are where exceptions of ours end, so each
    # is read below. Outside of its `try … except Exception` it calls these and nothing else.
    "infra._sound.<locals>.guarded.<locals>.call": frozenset(),
    "infra.GatedTracer.start_span": frozenset(),
    "infra.GatedTracer.start_as_current_span": frozenset(
        {"pop", "get", "start_span", "_current", "record_exception", "set_status", "_detach", "end"}
    ),
    "infra.GatedTracer._current": frozenset(),
    "infra._attach": frozenset(),
    "infra._take_back": frozenset(),
    "infra._asks": frozenset(),
    "infra._requests.<locals>.rebuild_auth": frozenset({"original"}),
    "infra._detach": frozenset(),
    "infra._take_over": frozenset(),
    "infra.ServerResponses.__call__": frozenset(
        {"_leading_back", "_wsgi_app", "_leave", "_release", "get", "isinstance"}
    ),
    "infra.ServerResponses._leave": frozenset({"_detach", "pop"}),
    "infra.ServerResponses._release": frozenset({"pop", "isinstance"}),
    "infra._Body.__iter__": frozenset(),
    "infra._Body.__next__": frozenset({"iter", "next", "_attach", "_detach", "_end"}),
    "infra._Body.close": frozenset({"close", "getattr", "_attach", "_detach", "_end"}),
    "infra._Body.__del__": frozenset({"_end"}),
    "infra._Body._end": frozenset({"getattr", "isinstance"}),
    "logs.mark_records.<locals>.factory": frozenset({"make"}),
    "logs.provider.<locals>.Handler.handle": frozenset(),
    "notice.line": frozenset(),
    "ownership._silence_decorators.<locals>.Through.wrapper": frozenset({"wrapped", "set"}),
    "ownership._silence_decorators.<locals>.<lambda>": frozenset(),
    "ownership._silence_layer.<locals>.init_tracer": frozenset(),
    "propagation._silence.<locals>.inject_trace_headers": frozenset({"original"}),
    "statements.time_calls.<locals>.timed": frozenset({"perf_counter", "call", "over"}),
    "statements.time_calls.<locals>.over": frozenset(),
    "statements.time_engine.<locals>.before": frozenset(),
    "statements.time_engine.<locals>.after": frozenset({"over"}),
    "statements.time_engine.<locals>.failed": frozenset(),
    "statements.time_engine.<locals>.over": frozenset(),
    "start._Threshold.find_spec": frozenset({"get", "find_spec"}),
    "start._ready_hook.<locals>.initialize_extensions": frozenset({"original", "line", "type"}),
}


@contextmanager
def program() -> Iterator[Any]:
    """Asks one running program: `ask(question)`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "DIFY_OTEL_"))}
    env = {**kept, "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "bootstrap", ROOT / "instrumentors", ROOT)))}
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), str(BOOTSTRAP)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env,
    ) as process:  # fmt: skip
        assert process.stdin is not None and process.stdout is not None

        def ask(question: Any) -> dict[str, Any]:
            process.stdin.write(json.dumps(question) + "\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            answer: dict[str, Any] = json.loads(process.stdout.readline())  # type: ignore[union-attr]
            return answer

        yield ask
        process.stdin.close()


def name_of(key: str) -> str:
    file, name, _ = key.split(":")
    return f"{Path(file).stem}.{name}"


@functools.cache
def answers() -> tuple[Any, Any, dict[tuple[str, str], Any]]:
    """Without us, with us, and with each function that runs raising: from the start, then, and in mid-stream."""
    with program() as ask:
        bare, ours = ask(None), ask([None, "run"])
    questions = [(key, "start") for key in ours["start"]]
    questions += [(key, "run") for key in ours["run"]] + [(key, "again") for key in ours["generators"]]
    waiting, turn = iter(questions), threading.Lock()
    told: dict[tuple[str, str], Any] = {}

    def some(_: int) -> None:
        with program() as ask:
            while True:
                with turn:
                    question = next(waiting, None)
                if question is None:
                    return
                told[question] = ask(list(question))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(some, range(AT_ONCE)))
    return bare, ours, told


def test_the_whole_agent_changes_nothing_and_has_nothing_to_swallow() -> None:
    bare, ours, _ = answers()
    assert ours["told"] == bare["told"]
    assert ours["swallowed"] == {}
    path, _, order = bare["told"][1]
    assert (path, order) == ("/stream", [f"{what} {n}" for n in range(3) for what in ("made", "got")])


def test_the_program_reaches_what_runs_in_dify() -> None:
    _, ours, told = answers()
    seen = {name_of(key) for key in (*ours["start"], *ours["run"])}
    for expected in (
        "start.ready", "sdk.start", "sdk._Spans.export", "sdk._Queue.on_end", "sdk.Sdk._stand_by", "sdk.Sdk.end",
        "infra._Body.__next__", "infra._Statement.end", "infra.Deferred.claim", "infra._HttpSpan.end", "infra._taken",
        "infra._Told.__init__", "statements._tell", "statements.time_engine.<locals>.tell", "statements._shown",
        "infra._published", "logs._scrubbed", "logs.mark_records.<locals>.factory", "quiet.Quiet.filter",
        "status.Keeper.turn", "status.Keeper.end", "propagation._silence.<locals>.inject_trace_headers",
        "ownership._silence_layer.<locals>.init_tracer", "standard.environment", "settings.read", "notice.line",
    ):  # fmt: skip
        assert expected in seen, (expected, sorted(seen))
    assert sum(answer["fired"] > 0 for answer in told.values()) > 150


def test_whichever_function_of_the_bootstrap_raises_dify_answers_as_without_us() -> None:
    bare, _, told = answers()
    different = [
        f"{name_of(key)} at {when}: {_difference(answer['told'], bare['told'])}"
        for (key, when), answer in sorted(told.items())
        if answer["told"] != bare["told"] and name_of(key) not in BOUNDARY
    ]
    assert different == [], "\n".join(different)


def _difference(with_us: list[Any], bare: list[Any]) -> Any:
    return next((pair for pair in itertools.zip_longest(with_us, bare) if pair[0] != pair[1]), None)


@functools.cache
def _functions() -> dict[str, ast.FunctionDef | ast.Lambda]:
    """Every function of the bootstrap by the name its code has."""
    found: dict[str, Any] = {}

    def walk(node: ast.AST, name: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.Lambda):
                own = f"{name}.{'<lambda>' if isinstance(child, ast.Lambda) else child.name}"
                found[own] = child
                walk(child, f"{own}.<locals>")
            elif isinstance(child, ast.ClassDef):
                walk(child, f"{name}.{child.name}")
            else:
                walk(child, name)

    for file in BOOTSTRAP.glob("*.py"):
        walk(ast.parse(file.read_text()), file.stem)
    return found


@pytest.mark.parametrize("name", BOUNDARY)
def test_where_exceptions_of_ours_end_nothing_else_is_called_unguarded(name: str) -> None:
    def unguarded(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
            if called not in {*BOUNDARY[name], "failed"}:
                yield ast.unparse(node)
        if isinstance(node, ast.Try) and any(
            ast.unparse(h.type or ast.Name("all")) == "Exception" and not isinstance(h.body[-1], ast.Raise)
            for h in node.handlers
        ):
            for part in (*node.handlers, *node.orelse, *node.finalbody):
                yield from unguarded(part)
            return
        for child in ast.iter_child_nodes(node):
            yield from unguarded(child)

    function = _functions()[name]
    body = function.body if isinstance(function.body, list) else [function.body]
    assert [call for statement in body for call in unguarded(statement)] == []
