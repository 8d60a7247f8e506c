"""Shows that the stand-in works by itself, without any instrumentation, in every way it is run.

`python check.py --python VENV/bin/python [--mode gevent …] [--rounds N]` drives all cases and what no case covers
(moderation, names of conversations, suggested questions, speech, single nodes, pause and resume, indexing, triggered
runs, clients which go away), and prints the median seconds of each case. Ends with 1 when anything was wrong.
"""

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from drive import CASES, Case, call, request, traceparent, wanted
from processes import DIFY, GEVENT_WEBSOCKET, Backing, api, backing, headers_seen, worker

# mode: gunicorn worker class, Celery pool, database, more environment
MODES: dict[str, tuple[str, str, str, dict[str, str]]] = {
    "websocket": (GEVENT_WEBSOCKET, "gevent", "postgresql", {}),
    "gevent": ("gevent", "gevent", "postgresql", {}),
    "streams": ("gevent", "gevent", "postgresql", {"EVENT_BUS_REDIS_CHANNEL_TYPE": "streams"}),
    "prefork": (GEVENT_WEBSOCKET, "prefork", "postgresql", {}),
    "threads": ("gthread", "threads", "postgresql", {}),
    "sqlite": ("gthread", "threads", "sqlite", {}),
    "native": (GEVENT_WEBSOCKET, "gevent", "postgresql", {"ENABLE_OTEL": "true", "OTEL_EXPORTER_TYPE": "console"}),
}


def until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


class Ledger:
    """Counts what was checked and prints what was wrong."""

    def __init__(self) -> None:
        self.checked = 0
        self.wrong = 0

    def note(self, name: str, right: bool, detail: object = "") -> None:
        self.checked += 1
        if not right:
            self.wrong += 1
            print(f"  WRONG {name}: {str(detail)[:400]}", flush=True)


def extras(servers: Backing, ledger: Ledger) -> None:
    """What no case of `drive` covers."""
    base, apps = servers.base, servers.apps
    key = {name: {"Authorization": f"Bearer {app['key']}"} for name, app in apps.items()}

    first = call(base, apps, Case("chat", "block", "ok"))
    more = call(base, apps, Case("chat", "stream", "ok", "and more"), conversation_id=first.ids["conversation_id"])
    ledger.note("second turn", more.ids.get("conversation_id") == first.ids["conversation_id"], more)
    for app in ("chat-moderated", "chatflow-moderated"):
        stopped = call(base, apps, Case(app, "stream", "ok", "say secretword now"))
        ledger.note(f"{app} input", "may not answer" in stopped.answer, stopped)
        passed = call(base, apps, Case(app, "stream", "ok", "a harmless question"))
        ledger.note(f"{app} passes", "harmless" in passed.answer, passed)
    headers_seen(servers.daemon, forget=True)
    call(base, apps, Case("chat", "block", "ok", "name this conversation"))
    named = until(lambda: sum(seen["note"] == "stub-chat" for seen in headers_seen(servers.daemon)) >= 2, 10)
    ledger.note("conversation name", named, headers_seen(servers.daemon))

    status, body = request("GET", f"{base}/v1/messages/{first.ids['message_id']}/suggested?user=x", None, key["chat"])
    ledger.note("suggested questions", status == 200 and len(json.loads(body)["data"]) > 0, body)
    audio = {**key["chat"], "Content-Type": "audio/wav"}
    status, body = request("POST", f"{base}/v1/audio-to-text?user=x", b"0123456789", audio)
    ledger.note("speech to text", status == 200 and b"10 bytes" in body, body)
    status, body = request("POST", f"{base}/v1/text-to-audio", {"text": "hello you", "user": "x"}, key["chat"])
    ledger.note("text to speech", status == 200 and body == b"helloyou", body)

    url = f"{base}/console/api/apps/{apps['wf-main']['id']}/workflows/draft/nodes"
    status, body = request("POST", f"{url}/llm/run", {"inputs": {"#code.clean#": "hello there"}})
    ledger.note("single node", status == 200 and json.loads(body)["status"] == "succeeded", body)
    url = f"{base}/console/api/apps/{apps['wf-fail']['id']}/workflows/draft/nodes"
    status, body = request("POST", f"{url}/llm/run", {"inputs": {"#start.query#": "hello"}})
    ledger.note("single node that fails", status == 200 and json.loads(body)["status"] == "failed", body)

    paused = call(base, apps, Case("wf-human", "stream", "paused"))
    ledger.note("pause", paused.status == "paused", paused)
    run_id = paused.ids["workflow_run_id"]
    status, body = request("POST", f"{base}/v1/form/human_input/{run_id}", {"user": "x"}, key["wf-human"])
    ledger.note("form", status == 200, body)

    def run_status() -> str:
        answer: str = json.loads(request("GET", f"{base}/v1/workflows/run/{run_id}", None, key["wf-human"])[1])[
            "status"
        ]
        return answer

    ledger.note("resume", until(lambda: run_status() == "succeeded", 20), run_status())

    gone = call(base, apps, Case("wf-slow", "stream", "aborted"), abort_after=6)
    ledger.note("client goes away", gone.status == "aborted", gone)
    gone = call(base, apps, Case("chat-slow", "stream", "aborted"), abort_after=3)
    ledger.note("client goes away from a chat", gone.status == "aborted", gone)
    tasks = (
        "from app import app;"
        "from tasks.document_indexing_task import document_indexing_task as i;"
        f"i.delay({servers.seeded['unindexed_dataset_id']!r}, [{servers.seeded['unindexed_document_id']!r}])"
    )
    headers_seen(servers.daemon, forget=True)
    subprocess.run([str(servers.python), "-c", tasks], cwd=DIFY, env=dict(servers.environment), check=True, timeout=60)

    webhook = f"{base}/triggers/webhook/{apps['wf-nested-inner']['id']}"
    status, body = request("POST", webhook, {"query": "triggered"})
    ledger.note("webhook", status == 200, body)

    def indexed() -> bool:
        notes = [seen["note"] for seen in headers_seen(servers.daemon)]
        return "stub-embed" in notes and "stub-chat" in notes

    ledger.note("indexing and triggered run", until(indexed, 20), headers_seen(servers.daemon))


@contextmanager
def running(mode: str, directory: Path, python: str) -> Iterator[Backing]:
    worker_class, pool, database, environment = MODES[mode]
    with (
        backing(directory, python, database=database) as servers,
        api(servers, worker_class=worker_class, environment=environment) as web,
        worker(servers, pool=pool, environment=environment) as tasks,
    ):
        try:
            yield servers
        except BaseException:
            print(web.tail(40), tasks.tail(40), sep="\n", file=sys.stderr)
            raise


def check(mode: str, rounds: int, python: str, ledger: Ledger) -> None:
    seconds: dict[str, list[float]] = defaultdict(list)
    with (
        tempfile.TemporaryDirectory(prefix=f"standin-{mode}-") as directory,
        running(mode, Path(directory), python) as servers,
    ):
        for name in ("wf-main:stream", "wf-main:block"):
            call(servers.base, servers.apps, CASES[name])
        for _ in range(rounds):
            for name, case in CASES.items():
                outcome = call(servers.base, servers.apps, case, parent=traceparent()[0])
                ledger.note(name, wanted(case, outcome), outcome)
                seconds[name].append(outcome.seconds)
        extras(servers, ledger)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, median in medians.items():
        print(f"  {mode:10} {name:24} p50 {median * 1000:6.0f} ms")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--mode", action="append", choices=list(MODES), help="all, if none is named")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    # Ended from outside (a time limit), it must still stop what it started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    ledger = Ledger()
    for mode in options.mode or MODES:
        print(f"{mode}:", flush=True)
        check(mode, options.rounds, options.python, ledger)
    print(f"{ledger.checked} checked, {ledger.wrong} wrong")
    return 1 if ledger.wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
