"""A process of its own that makes spans for a while under the agent's SDK, and says how it fared, as one line of JSON.

`python program.py gevent|threads SECONDS` exports to wherever the environment says. What it reports: calls made and
right, the longest call, the longest time a heartbeat stood still, and where each span went.
"""

from __future__ import annotations

import json
import os
import sys
import time

MODE, SECONDS = sys.argv[1], float(sys.argv[2])

if MODE == "gevent":
    from gevent import monkey

    monkey.patch_all()
    from grpc.experimental import gevent as grpc_gevent

    grpc_gevent.init_gevent()

import threading  # noqa: E402 - as gevent has patched it

from dify_otel import settings, standard  # noqa: E402
from dify_otel_instrumentors.core.operation import Operation  # noqa: E402
from dify_otel_instrumentors.core.wrapper import instrument  # noqa: E402

BURST = 20
"""Calls a round: a node's worth of work between two waits."""


def double(number: int) -> int:
    return 2 * number


def counted(number: int) -> object:
    yield from range(number)


def main() -> None:
    with standard.environment(settings.current()):
        from dify_otel import sdk

        started = sdk.start(settings.current(), "job")
    ended = [0]
    if started.queue is not None:
        end = started.queue.on_end

        def counting(span: object) -> None:
            ended[0] += 1
            end(span)

        started.queue.on_end = counting
    operation = Operation(concept="thing", name=lambda facts: "thing", before=lambda a, e: [("dify.thing", 1)])
    call, stream = instrument(double, operation), instrument(counted, operation)
    gaps, over = [0.0], threading.Event()

    def beat() -> None:
        last = time.perf_counter()
        while not over.is_set():
            time.sleep(0.02)
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    heart = threading.Thread(target=beat, daemon=True)
    heart.start()
    made = right = 0
    longest = 0.0
    until = time.perf_counter() + SECONDS
    while time.perf_counter() < until:
        for number in range(BURST):
            began = time.perf_counter()
            right += call(number) == 2 * number and list(stream(3)) == [0, 1, 2]
            longest = max(longest, time.perf_counter() - began)
            made += 1
        time.sleep(0.02)
    over.set()
    heart.join()
    began = time.perf_counter()
    started.flush()
    flushed = time.perf_counter() - began
    spans = started.spans
    if started.queue is not None:
        started.queue.account()
    report = {
        "made": made,
        "right": right,
        "ended": ended[0],
        "exported": getattr(spans, "exported", 0),
        "failed": getattr(spans, "failed", 0),
        "dropped": getattr(spans, "dropped", 0),
        "longest": longest,
        "gap": max(gaps),
        "flushed": flushed,
        "threads": threading.active_count(),
    }
    os.write(1, json.dumps(report).encode() + b"\n")


main()
