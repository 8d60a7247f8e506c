"""A Dify-shaped web application under the whole agent, in which one function of ours raises: what do clients see?

`python chaos_program.py FOLDER` reads questions from standard input, a line of JSON each: null (without us), or a
function's key and from when on it raises: `start`, `run`, or `again`, at every step of a generator but its first; with
the key null nothing raises and the answer tells which functions under FOLDER ran, and when. Each is answered, with a
line of JSON, by a forked copy of this process in which nothing was started before. Python 3.12: `sys.monitoring` makes
any code raise at its first instruction, closures, lambdas and generators too.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import inspect
import json
import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

TOOL = 4
SECONDS = 40
"""Of one answer: what waits for ever is a wrong answer, too."""


class Chaos(Exception):
    pass


generators: set[str] = set()
"""Those that ran while `watch` looked."""


def key_of(code: types.CodeType) -> str:
    return f"{code.co_filename}:{code.co_qualname}:{code.co_firstlineno}"


def raise_in(key: str, again: bool) -> Callable[[], int]:
    """From now on the code of this key raises; gives how often it has."""
    monitoring = sys.monitoring  # type: ignore[attr-defined, unused-ignore]
    fired = [0]
    event = monitoring.events.PY_RESUME if again else monitoring.events.PY_START

    def callback(code: types.CodeType, offset: int) -> Any:
        if key_of(code) != key:
            return monitoring.DISABLE
        fired[0] += 1
        raise Chaos

    monitoring.use_tool_id(TOOL, "chaos")
    monitoring.register_callback(TOOL, event, callback)
    monitoring.set_events(TOOL, event)
    return lambda: fired[0]


def watch(folder: str) -> list[str]:
    """The keys of what runs from now on, as a list that grows."""
    monitoring = sys.monitoring  # type: ignore[attr-defined, unused-ignore]
    seen: list[str] = []

    def callback(code: types.CodeType, offset: int) -> Any:
        if code.co_filename.startswith(folder) and code.co_name != "<module>":
            seen.append(key_of(code))
            if code.co_flags & inspect.CO_GENERATOR:
                generators.add(key_of(code))
        return monitoring.DISABLE

    if not monitoring.get_tool(TOOL):
        monitoring.use_tool_id(TOOL, "chaos")
    monitoring.register_callback(TOOL, monitoring.events.PY_START, callback)
    monitoring.set_events(TOOL, monitoring.events.PY_START)
    monitoring.restart_events()
    return seen


def calm() -> None:
    monitoring = sys.monitoring  # type: ignore[attr-defined, unused-ignore]
    if monitoring.get_tool(TOOL):
        monitoring.set_events(TOOL, 0)
        monitoring.free_tool_id(TOOL)


# --- the application

APP_FACTORY = """
def create_app(app):
    initialize_extensions(app)
    return app

def initialize_extensions(app):
    app.extensions["ready"] = True
"""
SSRF_PROXY = """
import httpx
def _inject_trace_headers(headers=None):
    headers = headers or {}
    headers["x-of-dify"] = "1"
    return headers
def make_request(url):
    return httpx.get(url, headers=_inject_trace_headers({"a": "b"}), verify=False).text
"""
LAYER = """
class ObservabilityLayer:
    def __init__(self):
        self._is_disabled = False
        self._init_tracer()
    def _init_tracer(self):
        self.tracer = None
"""
DECORATORS = """
class Handler:
    def wrapper(self, tracer, wrapped, args, kwargs):
        return wrapped(*args, **kwargs)
def _get_handler_instance(handler_class):
    return Handler()
def trace_span(function):
    def inner(*args, **kwargs):
        return _get_handler_instance(Handler).wrapper(tracer=None, wrapped=function, args=args, kwargs=kwargs)
    return inner
"""
WORK = """
import threading
from concurrent.futures import ThreadPoolExecutor
def square(number, seen):
    seen.append(number * number)
    return number * number
def by_hand(seen):
    thread = threading.Thread(target=square, args=(3, seen))
    thread.start()
    thread.join()
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(square, 4, seen).result()
"""
MORE = {
    "app_factory": APP_FACTORY,
    "core.helper.ssrf_proxy": SSRF_PROXY,
    "core.app.workflow.layers.observability": LAYER,
    "extensions.otel.decorators.base": DECORATORS,
    "core.work": WORK,
}


class Unspeakable:
    def __str__(self) -> str:
        raise LookupError("unspeakable")

    __repr__ = __str__


def application(outside: str) -> tuple[Any, Any]:
    """Flask, a database, HTTP clients, Redis that is not there, Celery: every instrumentation has something to do."""
    import logging

    import celery
    import flask
    import httpx
    import redis
    import requests
    from flask_sqlalchemy import SQLAlchemy
    from sqlalchemy import text

    log = logging.getLogger("of.dify")
    log.setLevel(logging.INFO)
    app = flask.Flask("app")
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
    database = SQLAlchemy(app)
    tasks = celery.Celery("tasks", broker="memory://")
    order: list[str] = []
    client = httpx.Client(verify=False)  # made once: reading the certificates takes longest of all

    def task(number: int) -> int:
        if number < 0:
            raise LookupError("task")
        return number + 1

    registered = tasks.task(name="work", bind=False)(task)

    @app.get("/block")
    def block() -> Any:
        log.info("asked by %s", "somebody")
        log.info("without arguments")
        database.session.execute(text("select 1"))
        try:
            database.session.execute(text("select no_such_column"))
        except Exception as error:
            database.session.rollback()
            told = type(error).__name__
        try:
            redis.Redis(port=1, retry=None).get("key")
        except redis.ConnectionError:
            told += " no redis"
        try:
            redis.Redis(port=1, retry=None).pipeline().get("key").execute()
        except redis.ConnectionError:
            told += ", nor a pipeline"
        told += client.get(f"{outside}/httpx").text + requests.get(f"{outside}/requests", timeout=20).text
        try:
            client.get("http://127.0.0.1:1/")
        except httpx.ConnectError as error:
            told += type(error).__name__
        from core.helper import ssrf_proxy

        told += ssrf_proxy.make_request(f"{outside}/proxy")
        from core import work

        seen: list[int] = []
        told += f"{work.by_hand(seen)} {sorted(seen)}"
        registered.apply_async((1,))
        told += str(registered.apply((1,)).get())
        failed = registered.apply((-1,))
        return told + f"{failed.state} {failed.result!r}"

    @app.get("/stream")
    def stream() -> Any:
        def words() -> Iterator[Any]:
            from tests.patching import test_chaos

            for number, chunk in enumerate(test_chaos.OBJECTS.chunks):
                order.append(f"made {number}")
                yield chunk

        def pieces() -> Iterator[str]:
            from core import model_manager

            model_manager.CHUNKS = words()
            for number, piece in enumerate(model_manager.ModelInstance().invoke_llm([])):
                client.get(f"{outside}/inside")
                yield f"{piece.model}{number}"

        return flask.Response(flask.stream_with_context(pieces()), headers={"X-Of-Dify": "1"})

    @app.get("/broken")
    def broken() -> Any:
        def pieces() -> Iterator[str]:
            yield "one"
            raise LookupError("mid-stream")

        return flask.Response(pieces())

    @app.get("/raise")
    def fails() -> Any:
        raise LookupError("of Dify")

    @app.get("/native")
    def native() -> Any:
        from core.app.workflow.layers.observability import ObservabilityLayer
        from extensions.otel.decorators.base import trace_span

        ObservabilityLayer()
        return trace_span(lambda a, b: f"{a}{b}")(1, b=2)

    @app.get("/log")
    def logs() -> Any:
        log.info(Unspeakable())
        log.info("%s and %s", *["one"])
        try:
            raise LookupError(Unspeakable())
        except LookupError:
            log.exception("failed")
        return "logged"

    return app, order


def ask(app: Any, order: list[str], path: str, stop_after: int | None = None) -> list[Any]:
    """What a WSGI server sees of one request: status, headers, pieces in their order, and what is raised."""
    seen: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        seen.append([status, sorted(name for name, _ in headers)])
        return lambda data: None

    environ = {
        "REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": "q=1", "SERVER_NAME": "dify", "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.url_scheme": "http", "wsgi.input": sys.stdin.buffer,
        "wsgi.errors": sys.stderr, "wsgi.multithread": True, "wsgi.multiprocess": False, "wsgi.run_once": False,
        "wsgi.version": (1, 0), "REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "dify",
        "HTTP_TRACEPARENT": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "HTTP_BAGGAGE": "a=b",
    }  # fmt: skip
    order.clear()
    body: Any = None
    try:
        body = app.wsgi_app(environ, start_response)
        for number, piece in enumerate(body):
            order.append(f"got {number}")
            seen.append(bytes(piece).decode())
            if number == stop_after:
                break
    except Exception as error:
        seen.append(["raised", type(error).__name__, str(error)])
    finally:
        close = getattr(body, "close", None)
        if close is not None:
            try:
                close()
            except Exception as error:
                seen.append(["closing raised", type(error).__name__])
    return [path, seen, list(order)]


def drive(app: Any, order: list[str]) -> list[Any]:
    told = [ask(app, order, path) for path in ("/block", "/stream", "/broken", "/raise", "/native", "/log", "/no")]
    told.append(ask(app, order, "/stream", stop_after=0))
    from tests.patching import test_chaos

    # Objects of this process, by identity: only their number and kind are the same in another one.
    seen = test_chaos.drive()
    told.append([type(what).__name__ if not isinstance(what, str | bool | type(None)) else what for what in seen])
    return told


def answer(question: Any, outside: str, backend: str) -> dict[str, Any]:
    from tests.patching import test_chaos

    test_chaos.MODULES.update(MORE)
    test_chaos.ROOTS.update(name.split(".")[0] for name in MORE)
    sys.meta_path.insert(0, test_chaos.Library())  # type: ignore[arg-type]
    app, order = application(outside)
    fired: Callable[[], int] = lambda: 0  # noqa: E731
    told: list[Any] = []
    starting: list[str] = []
    running: list[str] = []
    if question is not None:
        os.environ.update(
            OTEL_EXPORTER_OTLP_ENDPOINT=backend, OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
            OTEL_LOGS_EXPORTER="otlp", OTEL_BSP_SCHEDULE_DELAY="50", OTEL_METRIC_EXPORT_INTERVAL="100",
            OTEL_BLRP_SCHEDULE_DELAY="50", DIFY_OTEL_FLUSH_SECONDS="0.5", DIFY_OTEL_INFRA_SLOW_MS="0",
            OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT="SPAN_AND_EVENT", DIFY_OTEL_TRUST_INCOMING="false",
            DIFY_OTEL_RESPONSE_HEADERS="off", DIFY_OTEL_DIALECTS="otel,arms,openinference",
            PLUGIN_DAEMON_URL=outside, DIFY_OTEL_USER_ID="nonsense", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="nonsense",
        )  # fmt: skip
        from dify_otel import start

        key, when = question
        start.State.program, start.State.role, start.State.armed_in = "gunicorn", "api", os.getppid()
        sys.meta_path.insert(0, start._Threshold())
        if key and when == "start":
            fired = raise_in(key, False)
        elif not key:
            starting = watch(sys.argv[1])
    try:
        import app_factory

        app_factory.create_app(app)
    except Exception as error:
        told.append(["start raised", type(error).__name__, str(error)])
    if question is not None and key and when != "start":
        fired = raise_in(key, when == "again")
    elif question is not None and not key:
        running = watch(sys.argv[1])
    told += drive(app, order)
    told.append(threading.active_count() < 40)
    if question is not None:
        import atexit

        try:
            atexit._run_exitfuncs()
        except BaseException as error:
            told.append(["the end raised", type(error).__name__])
    count = fired()
    calm()
    from dify_otel_instrumentors.core import guard

    return {
        "modules": sorted(sys.modules) if question == [None, "run"] else [],
        "told": told,
        "fired": count,
        "swallowed": guard.counts(),
        "start": sorted(set(starting)),
        "run": sorted(set(running)),
        "generators": sorted(generators),
    }


class Quietly(BaseHTTPRequestHandler):
    def _answer(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        self.rfile.read(length)
        words = b"" if self.command == "POST" else self.path.encode()
        # The backend will have no metrics, so that the exporters have something to say, too.
        self.send_response(401 if self.path == "/v1/metrics" else 200)
        self.send_header("Content-Length", str(len(words)))
        self.end_headers()
        self.wfile.write(words)

    do_GET = do_POST = _answer

    def log_message(self, *_: object) -> None:
        return


def in_a_copy(question: Any, outside: str) -> dict[str, Any]:
    """`answer` in a forked copy of this process."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)
        os.close(reading)
        told: Any
        try:
            told = answer(question, outside, outside)
        except BaseException as error:
            told = {"told": [f"{type(error).__name__}: {error}"], "fired": -1, "swallowed": {}}
        with os.fdopen(writing, "wb") as answering:
            answering.write(json.dumps(told).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as listening:
        said = listening.read()
    _, status = os.waitpid(child, 0)
    if status or not said:
        return {"told": [f"died: {status}"], "fired": -1, "swallowed": {}, "modules": []}
    result: dict[str, Any] = json.loads(said)
    return result


def main() -> None:
    for name in [n for n in os.environ if n.startswith(("OTEL_", "DIFY_OTEL_"))]:
        del os.environ[name]
    import sqlalchemy.dialects.sqlite  # noqa: F401

    os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf"
    from dify_otel import completion, logs, ownership, propagation, sdk, settings, start, status  # noqa: F401

    sdk.preload(settings.read({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}))
    from opentelemetry.exporter.otlp.proto.http import _log_exporter  # noqa: F401
    from opentelemetry.instrumentation import flask as _  # noqa: F401

    from tests.patching import test_chaos

    for name in test_chaos.MODULES:
        test_chaos.compiled(name)
    del os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"]
    threading.stack_size(0)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Quietly)
    port = server.server_address[1]
    pid = os.fork()
    if pid == 0:  # in a process of its own: a fork below must not copy a thread of it in the middle of something
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        server.serve_forever()
    server.server_close()
    outside = f"http://127.0.0.1:{port}"
    try:
        theirs = {name.split(".")[0] for name in (*test_chaos.MODULES, *MORE)}
        for name in in_a_copy([None, "run"], outside)["modules"]:
            if name.split(".")[0] not in theirs:  # what is imported here need not be imported in each copy
                with contextlib.suppress(Exception):
                    importlib.import_module(name)
        gc.freeze()
        for line in sys.stdin:
            print(json.dumps(in_a_copy(json.loads(line), outside)), flush=True)
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
