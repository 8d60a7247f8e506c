"""Stand-in for dify-sandbox: runs Python in a child process, without any isolation. Loopback and tests only.

Run: `python sandbox.py --port 0`.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from recording import RecordingHandler, serve

KEY = "dify-sandbox"


def run(body: dict[str, Any]) -> dict[str, Any]:
    if body.get("language") != "python3":
        return {"code": -400, "message": "unsupported language", "data": {"stdout": None, "error": None}}
    # The real sandbox starts code with a clean environment: no injected PYTHONPATH, no OTEL_ variables.
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL", "PYTHON", "DIFY"))}
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", f"{body.get('preload') or ''}\n{body['code']}"],
            capture_output=True,
            text=True,
            timeout=15,
            env=clean,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"code": 0, "message": "success", "data": {"stdout": "", "error": "error: timeout"}}
    error = done.stderr if done.returncode else ""
    return {"code": 0, "message": "success", "data": {"stdout": done.stdout, "error": error}}


class SandboxHandler(RecordingHandler):
    def route(self) -> None:
        if self.housekeeping():
            return
        body = json.loads(self.body() or b"{}")
        self.remember(str(body.get("language") or ""))
        if self.headers.get("X-Api-Key") != KEY:
            self.answer({"code": -401, "message": "unauthorized", "data": {}}, 401)
            return
        self.answer(run(body))

    do_GET = do_POST = do_DELETE = route


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Stand-in for the code sandbox.")
    parser.add_argument("--port", type=int, default=8194)
    serve(SandboxHandler, parser.parse_args().port)
