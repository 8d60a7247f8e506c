"""A real headless Chromium, driven over its own pipe with nothing but the standard library.

The page must work in a browser, not in a simulation of one. The DevTools protocol over two pipes (JSON messages, each
ended by a zero byte) is small enough that no driver has to be installed beside the browser.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_AT_3_AND_4 = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for end, place in zip(ends, (3, 4)):
    os.dup2(end, place)
os.execv(sys.argv[3], sys.argv[3:])
"""
_MIDDLE = """((selector) => {
  const element = document.querySelector(selector);
  element.scrollIntoView({block: "nearest"});
  const box = element.getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2];
})(%s)"""
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find() -> str | None:
    """The browser to use: `CHROMIUM` names one, else the first known one on the PATH."""
    given = os.environ.get("CHROMIUM")
    return given or next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One browser with one page: `requests` is what it asked of the network, `problems` what it complained of."""

    def __init__(self, program: str, *, width: int = 1440, height: int = 900, dark: bool = False) -> None:
        self._program = program
        self._size = (width, height)
        self._dark = dark
        self._last = 0
        self._buffer = b""
        self.requests: list[str] = []
        self.problems: list[str] = []
        self._events: list[str] = []

    def __enter__(self) -> Self:
        self._profile = tempfile.TemporaryDirectory(prefix="dify-otel-chromium-", ignore_cleanup_errors=True)
        read_theirs, self._write = os.pipe()
        self._read, write_theirs = os.pipe()
        arguments = [
            self._program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--no-first-run", "--disable-extensions", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", "--hide-scrollbars", "--remote-debugging-pipe", f"--user-data-dir={self._profile.name}",
            f"--window-size={self._size[0]},{self._size[1]}", "about:blank",
        ]  # fmt: skip
        # Chromium reads its pipe from descriptor 3 and writes to 4.
        self._process = subprocess.Popen(
            [sys.executable, "-Sc", _AT_3_AND_4, str(read_theirs), str(write_theirs), *arguments],
            pass_fds=(read_theirs, write_theirs),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(read_theirs)
        os.close(write_theirs)
        target = self._call("Target.createTarget", {"url": "about:blank"}, session="")["targetId"]
        self._session = self._call("Target.attachToTarget", {"targetId": target, "flatten": True}, session="")[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._call(f"{domain}.enable")
        width, height = self._size
        self._call(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )
        self.prefer(dark=self._dark)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            os.close(self._write)
            os.close(self._read)
            self._process.wait(10)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait(10)
        self._profile.cleanup()

    def prefer(self, *, dark: bool) -> None:
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", {"features": [feature]})

    def open(self, page: Path, fragment: str = "") -> None:
        # By way of the empty page: from a page to its own fragment is no load.
        for url in ("about:blank", page.as_uri() + fragment):
            self.requests.clear()
            self.problems.clear()
            self._events.clear()
            self._call("Page.navigate", {"url": url})
            self._until(lambda: "Page.loadEventFired" in self._events)

    def run(self, script: str) -> Any:
        """The value of an expression in the page. Raises AssertionError with the page's own error."""
        given = {"expression": script, "returnByValue": True, "awaitPromise": True, "userGesture": True}
        answer = self._call("Runtime.evaluate", given)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def type(self, text: str) -> None:
        self._call("Input.insertText", {"text": text})

    def press(self, key: str) -> None:
        text = {"text": key} if len(key) == 1 else {}
        self._call("Input.dispatchKeyEvent", {"type": "keyDown", "key": key, **text})
        self._call("Input.dispatchKeyEvent", {"type": "keyUp", "key": key})

    def click(self, selector: str, clicks: int = 1) -> None:
        """A real click of the mouse in the middle of the first element that fits, scrolled into view."""
        x, y = self.run(_MIDDLE % json.dumps(selector))
        for count in range(1, clicks + 1):
            for kind in ("mousePressed", "mouseReleased"):
                self._call(
                    "Input.dispatchMouseEvent",
                    {"type": kind, "x": x, "y": y, "button": "left", "clickCount": count},
                )

    def picture(self, path: Path) -> None:
        data = self._call("Page.captureScreenshot", {"format": "png"})["data"]
        path.write_bytes(base64.b64decode(data))

    def _call(
        self, method: str, parameters: dict[str, Any] | None = None, session: str | None = None
    ) -> dict[str, Any]:
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": parameters or {}}
        if session is None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        wanted, answers = self._last, dict[int, Any]()

        def answered() -> bool:
            return wanted in answers

        self._until(answered, answers)
        answer = answers[wanted]
        assert "error" not in answer, (method, answer["error"])
        result: dict[str, Any] = answer["result"]
        return result

    def _until(self, done: Any, answers: dict[int, Any] | None = None, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self._read], [], [], max(0, left))
            if not ready:
                raise TimeoutError("the browser did not answer")
            data = os.read(self._read, 1 << 16)
            if not data:
                raise RuntimeError(f"the browser ended with status {self._process.poll()}")
            self._buffer += data
            *messages, self._buffer = self._buffer.split(b"\0")
            for message in map(json.loads, messages):
                if "id" in message and answers is not None:
                    answers[message["id"]] = message
                elif "method" in message:
                    self._notice(message["method"], message["params"])

    def _notice(self, method: str, parameters: dict[str, Any]) -> None:
        self._events.append(method)
        if method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.problems.append(parameters["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning"):
            self.problems.append(str(parameters["args"]))
