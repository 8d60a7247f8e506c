"""What both stand-in services share: they remember the headers of every request and hand them out.

`GET /__headers` answers with a JSON list of `{method, path, note, headers}` (names in lower case, oldest first),
`DELETE /__headers` forgets them, `GET /health` answers when the service is up.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_KEPT = 5000


class RecordingHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body leave in two packets: with Nagle's algorithm each answer would take 40 ms longer.
    disable_nagle_algorithm = True
    seen: list[dict[str, Any]] = []
    lock = threading.Lock()

    def log_message(self, format: str, *args: Any) -> None:
        del format, args

    def remember(self, note: str = "") -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        with self.lock:
            self.seen.append({"method": self.command, "path": self.path, "note": note, "headers": headers})
            del self.seen[:-_KEPT]

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, payload: Any, status: int = 200) -> None:
        data = json.dumps(payload).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def housekeeping(self) -> bool:
        """True when the request was about the service itself and is answered."""
        if self.path == "/__headers":
            with self.lock:
                seen = list(self.seen)
                if self.command == "DELETE":
                    self.seen.clear()
            self.answer(seen)
            return True
        if self.path in ("/health", "/health/check"):
            self.remember()
            self.answer({"status": "ok"})
            return True
        return False


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def serve(handler: type[RecordingHandler], port: int) -> None:
    server = QuietServer(("127.0.0.1", port), handler)
    print(f"listening on {server.server_address[1]}", flush=True)
    server.serve_forever()
