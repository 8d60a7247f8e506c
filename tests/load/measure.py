"""Load and what it does to processes: requests from many threads, CPU seconds and resident memory from the kernel."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.standin import drive, processes

CONCURRENT = 50
WARM_UP = 0.4
"""The part of a run in which pools, caches and the allocator still grow."""


@dataclass
class Run:
    """What one run of load came to."""

    seconds: float = 0.0
    outcomes: list[drive.Outcome] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    cpu: float = 0.0
    memory: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """(seconds since the start, MiB) by process."""

    @property
    def cpu_per_request(self) -> float:
        return self.cpu / max(1, len(self.outcomes))

    def latency(self, percent: int) -> float:
        times = [outcome.seconds for outcome in self.outcomes]
        return statistics.quantiles(times, n=100)[percent - 1] if len(times) > 1 else 0.0

    def growth(self, process: str) -> float:
        """MiB that the process grows by in the measured part of the run, by a straight line through it."""
        samples = [(at, size) for at, size in self.memory[process] if at >= self.seconds * WARM_UP]
        slope, _ = statistics.linear_regression([at for at, _ in samples], [size for _, size in samples])
        return slope * (samples[-1][0] - samples[0][0])

    def resident(self, process: str) -> float:
        return statistics.mean(size for at, size in self.memory[process] if at >= self.seconds * WARM_UP)


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for one in found:
        try:
            for task in Path(f"/proc/{one}/task").iterdir():
                found += [int(word) for word in (task / "children").read_text().split()]
        except OSError:
            continue
    return list(dict.fromkeys(found))


def cpu_seconds(pids: Sequence[int]) -> float:
    ticks = 0
    for pid in pids:
        try:
            words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(map(int, words[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def resident(pids: Sequence[int]) -> float:
    pages = 0
    for pid in pids:
        try:
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except OSError:
            continue
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextmanager
def sampled(watched: Mapping[str, processes.Process], run: Run) -> Iterator[None]:
    """Memory every half second, CPU from beginning to end."""
    over, began = threading.Event(), time.perf_counter()
    run.memory = {name: [] for name in watched}

    def sample() -> None:
        while not over.wait(0.5):
            for name, process in watched.items():
                run.memory[name].append((time.perf_counter() - began, resident(family(process.pid))))

    sampling = threading.Thread(target=sample)
    before = sum(cpu_seconds(family(process.pid)) for process in watched.values())
    sampling.start()
    try:
        yield
    finally:
        over.set()
        sampling.join()
        run.seconds = time.perf_counter() - began
        run.cpu = sum(cpu_seconds(family(process.pid)) for process in watched.values()) - before


def load(
    servers: processes.Backing,
    watched: Mapping[str, processes.Process],
    cases: Sequence[str],
    seconds: float,
    concurrent: int = CONCURRENT,
) -> Run:
    """So many clients, each one request after the other, until the time is over."""
    run, until = Run(), time.monotonic() + seconds

    def client(number: int) -> None:
        turn = number
        while time.monotonic() < until:
            case = drive.CASES[cases[turn % len(cases)]]
            turn += 1
            parent, _ = drive.traceparent()
            try:
                outcome = drive.call(
                    servers.base, servers.apps, case, parent=parent, user=f"user-{number}", timeout=120
                )
            except Exception as error:
                run.failures.append(f"{case.name}: {type(error).__name__}: {error}")
                continue
            if not drive.wanted(case, outcome):
                run.failures.append(f"{case.name}: {outcome.status} {outcome.error}")
            run.outcomes.append(outcome)

    clients = [threading.Thread(target=client, args=(number,)) for number in range(concurrent)]
    with sampled(watched, run):
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join()
    return run
