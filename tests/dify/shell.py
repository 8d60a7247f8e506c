"""Stand-in for the shell that Dify's agent backend works in: every command has ended well at once and said nothing.

`python -m tests.dify.shell --port PORT`. The routes and fields are those the backend's own client asks for (1.16.1).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "standin" / "services"))
import recording


class Shell(recording.RecordingHandler):
    def route(self) -> None:
        if self.housekeeping():
            return
        self.body()
        self.remember("shell")
        job = {"job_id": "job", "status": "exited", "done": True, "exit_code": 0}
        if self.command == "DELETE":
            self.answer({"job_id": "job", "deleted": True})
        else:
            self.answer({**job, "output_path": "/dev/null", "output": "", "offset": 0, "truncated": False})

    do_GET = do_POST = do_PUT = do_DELETE = route


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Stand-in for the agent backend's shell.")
    parser.add_argument("--port", type=int, required=True)
    recording.serve(Shell, parser.parse_args().port)
