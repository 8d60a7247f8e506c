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


def forked() -> int:
    """A copy that goes on as Python: its first span starts its exporting, which sends that span and nothing else."""
    spans = start.State.sdk.spans
    before, until = spans.exported, time.monotonic() + 20
    list(ask("forked-chat"))
    while spans.exported == before and time.monotonic() < until:
        time.sleep(0.02)
    return 0


def main() -> int:
    said = app.test_client().post("/v1/ask", headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"})
    text = said.get_data(as_text=True)
    # As if in the middle of an export: gRPC's exporters hold this lock then, in some releases.
    lock = getattr(start.State.sdk.spans._exporter, "_export_lock", None) or threading.Lock()
    lock.acquire()
    child = os.fork()
    if child == 0:
        return forked()
    lock.release()
    _, status = os.waitpid(child, 0)
    print("FACTS " + json.dumps({"answer": text, "child": os.waitstatus_to_exitcode(status)}), flush=True)
    return 0


raise SystemExit(main())
