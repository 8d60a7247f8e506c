"""One request through everything whose interfaces differ between releases of OpenTelemetry, then a forked child.

`python -m app` with the agent on PYTHONPATH; STANDIN names a tree with Dify's model classes.
"""

import json
import logging
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

sys.path.append(os.environ["STANDIN"])

import app_factory

app = app_factory.create_app()
# From here on as Dify: what it imports after its factory.

import httpx  # noqa: E402
import sqlalchemy  # noqa: E402
from core.model_manager import ModelInstance, bundle  # noqa: E402
from core.model_runtime.entities.llm_entities import PromptMessage  # noqa: E402
from dify_otel import start  # noqa: E402
from flask import Response  # noqa: E402


class Daemon(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: object) -> None: ...


class Imports:
    """What the exporting threads import: a copy forked meanwhile would wait for that import forever."""

    names: ClassVar[list[str]] = []

    @classmethod
    def find_spec(cls, name: str, path: object = None, target: object = None) -> None:
        if threading.current_thread().name.startswith("Otel"):
            cls.names.append(name)


sys.meta_path.insert(0, Imports)
daemon = HTTPServer(("127.0.0.1", 0), Daemon)
threading.Thread(target=daemon.serve_forever, daemon=True).start()
engine = sqlalchemy.create_engine("sqlite://")


def ask(model: str):
    return ModelInstance(bundle(), model).invoke_llm([PromptMessage("user", "hello")], stream=True)


@app.post("/v1/ask")
def answer() -> Response:
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("select 1"))
    httpx.get(f"http://127.0.0.1:{daemon.server_port}/status")
    logging.getLogger("standin").warning("a line of the request")
    return Response((chunk.delta.message.content for chunk in ask("stub-chat")), mimetype="text/event-stream")


def exported(model: str) -> int:
    """How many spans were sent after one call, one if all is well."""
    spans = start.State.sdk.spans
    before, until = spans.exported, time.monotonic() + 20
    list(ask(model))
    while spans.exported == before and time.monotonic() < until:
        time.sleep(0.02)
    return spans.exported - before


def main() -> int:
    first = exported("first-chat")  # a connection is open from here on
    said = app.test_client().post("/v1/ask", headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"})
    text = said.get_data(as_text=True)
    # As if in the middle of an export: gRPC's exporters hold this lock then, in some releases.
    lock = getattr(start.State.sdk.spans._exporter, "_export_lock", None) or threading.Lock()
    lock.acquire()
    child = os.fork()
    if child == 0:
        # It goes on as Python: its first span starts its exporting, which sends that span and nothing else.
        return exported("forked-chat")
    lock.release()
    _, status = os.waitpid(child, 0)
    sent = [first, os.waitstatus_to_exitcode(status)]
    print("FACTS " + json.dumps({"answer": text, "sent": sent, "imported": Imports.names}), flush=True)
    return 0


raise SystemExit(main())
