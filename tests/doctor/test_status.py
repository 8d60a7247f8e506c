"""What a running process tells the doctor: its file, all that may go wrong with it, and real processes keeping one."""

from __future__ import annotations

import json
import os
import resource
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dify_otel import status
from dify_otel.doctor import examination, text
from dify_otel.tail.receiver import Receiver

from tests.standin import drive, processes

ROOT = Path(__file__).resolve().parents[2]
INJECT = ROOT / "bootstrap" / "dify_otel" / "inject"
SPANS = {"exported": 5, "dropped": {"queue": 0, "export": 0}}


def keeper(place: Path | None, now: Callable[[], Any] | None = None, **facts: Any) -> status.Keeper:
    return status.Keeper(place, {"version": "1", "role": "api", **facts}, now or (lambda: {"spans": SPANS}))


def only(place: Path) -> Path:
    (found,) = place.iterdir()
    return found


def test_written_and_read_back(tmp_path: Path) -> None:
    kept = keeper(tmp_path, door="sitecustomize")
    kept.begin()
    assert stat.S_IMODE(only(tmp_path).stat().st_mode) == 0o600
    (said,), unreadable = status.read([tmp_path, tmp_path])
    assert unreadable == 0
    assert (said["pid"], said["role"], said["door"], said["spans"]) == (os.getpid(), "api", "sitecustomize", SPANS)
    assert abs(said["started"] - time.time()) < 5
    kept.end()
    assert list(tmp_path.iterdir()) == []


def test_written_when_counts_change_and_not_more_often(tmp_path: Path, monkeypatch: Any) -> None:
    clock = [100.0]
    monkeypatch.setattr(status.time, "monotonic", lambda: clock[0])
    exported = [0]
    kept = keeper(tmp_path, lambda: {"spans": {"exported": exported[0], "dropped": {}}})
    kept.begin()

    def seen() -> tuple[int, int]:
        return status.read([tmp_path])[0][0]["spans"]["exported"], only(tmp_path).stat().st_ino

    first = seen()
    exported[0] = 1
    kept.turn()
    assert seen() == first, "too early"
    clock[0] += status.WRITE_SECONDS
    kept.turn()
    second = seen()
    assert second[0] == 1
    clock[0] += status.WRITE_SECONDS
    kept.turn()
    assert seen() == second, "nothing changed"


def test_a_folder_that_cannot_be_written_is_silence(tmp_path: Path, capfd: Any) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for place in (tmp_path / "none", file, Path("/proc"), None):
        kept = keeper(place)
        kept.begin()
        kept.turn()
        kept.end()
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == [file]


def test_a_full_disk_is_silence_and_costs_one_try_a_minute(tmp_path: Path, monkeypatch: Any) -> None:
    clock = [100.0]
    monkeypatch.setattr(status.time, "monotonic", lambda: clock[0])
    changing = iter(range(100))
    kept = keeper(tmp_path, lambda: {"spans": {"exported": next(changing)}})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        kept.begin()
        clock[0] += status.RETRY_SECONDS - 1
        kept.turn()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert next(changing) == 1, "only one try"
    assert status.read([tmp_path]) == ([], 0)
    clock[0] += 2
    kept.turn()
    assert len(status.read([tmp_path])[0]) == 1
    kept.end()


def test_no_link_is_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("theirs")
    place = tmp_path / "place"
    place.mkdir()
    keeper(place).begin()
    name = only(place).name
    only(place).unlink()
    for laid in (name, f".{name}.new"):
        (place / laid).symlink_to(target)
    keeper(place).begin()
    assert target.read_text() == "theirs"
    assert not (place / name).is_symlink()


def test_a_forked_copy_leaves_its_parents_file_alone(tmp_path: Path) -> None:
    kept = keeper(tmp_path)
    kept.begin()
    before = only(tmp_path).read_bytes()
    child = os.fork()
    if child == 0:
        kept._due = 0.0
        kept._last = None
        kept.turn()
        kept.end()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert only(tmp_path).read_bytes() == before


def test_files_of_the_dead_are_taken_away_by_the_next_one(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    gone = int(done.stdout)
    keeper(tmp_path).begin()
    mine = only(tmp_path)
    dead = mine.with_name(mine.name.replace(str(os.getpid()), str(gone)))
    dead.write_text(mine.read_text())
    others = tmp_path / "dify-otel-notes.json"
    others.write_text("")
    assert [s["pid"] for s in status.read([tmp_path])[0]] == [os.getpid()]
    keeper(tmp_path).begin()
    assert sorted(tmp_path.iterdir()) == sorted([mine, others])


def test_what_somebody_else_wrote_is_not_believed(tmp_path: Path) -> None:
    keeper(tmp_path).begin()
    mine = only(tmp_path)
    good = mine.read_text()
    asked = json.loads(good)
    for wrong in (
        "",
        "[]",
        "{",
        "null",
        "\xff",
        good[:-1],
        json.dumps(asked | {"pid": 1}),
        json.dumps(asked | {"born": asked["born"] + 1}),
        json.dumps(asked | {"role": "x" * status.MOST_BYTES}),
    ):
        mine.write_text(wrong)
        assert status.read([tmp_path])[0] == [], wrong[:40]
    mine.write_text(json.dumps(asked | {"role": "\x1b[31mapi\n", "spans": {"exported": "9", "dropped": [1]}}))
    (said,), _ = status.read([tmp_path])
    assert said["role"] == "[31mapi"
    assert said["spans"] == {"exported": 0, "dropped": {}}
    if os.geteuid() == 0:
        os.chown(mine, 65534, 65534)
        assert status.read([tmp_path])[0] == []
    mine.unlink()
    os.mkfifo(mine)
    assert status.read([tmp_path])[0] == []


@pytest.mark.parametrize(
    ("endpoint", "shown"),
    [
        ("http://user:secret@host:4317/adapt_secret?key=secret", "host:4317"),
        ("host:4317", "host:4317"),
        ("https://[::1]:4318/v1/traces#secret", "::1:4318"),
        ("http://host/secret", "host"),
        ("http://host:none/", ""),
        ("", ""),
    ],
)
def test_of_an_endpoint_only_the_address(endpoint: str, shown: str) -> None:
    assert status.address(endpoint) == shown


def test_the_folder() -> None:
    assert status.folder("", {}) == Path("/tmp")
    assert status.folder("", {"TMPDIR": "/var/tmp"}) == Path("/var/tmp")
    assert status.folder(" /run/x ", {"TMPDIR": "/var/tmp"}) == Path("/run/x")
    assert status.folder("OFF", {"TMPDIR": "/var/tmp"}) is None


# --- the doctor reads it


def test_the_doctor_says_what_was_dropped(tmp_path: Path, environ: dict[str, str]) -> None:
    place = Path(environ["DIFY_OTEL_STATUS_DIR"])
    dropped = {"exported": 90, "dropped": {"queue": 7, "export": 3}}
    keeper(
        place, lambda: {"spans": dropped, "seams_on": 50, "seams_total": 57}, dify="1.16.1", endpoint="c:4317"
    ).begin()
    report = examination.examine(None, sys.executable, network=False, environ=environ)
    (problem,) = [p for p in report.problems if p.about == "export"]
    assert problem.severity == "degraded"
    assert problem.text == f"api (pid {os.getpid()}) dropped 10 spans (queue 7, export 3) and exported 90"
    assert "OTEL_BSP_MAX_QUEUE_SIZE" in problem.advice and "backend" in problem.advice
    assert report.dropped == "10; 90 exported, by 1 running processes"
    assert json.loads(report.as_json())["telemetry"][0]["spans"] == dropped
    shown = " ".join(text.render(report).split())
    assert "90 spans exported, 10 dropped (queue 7, export 3)" in shown
    assert "50 of 57 seams" in shown


def test_the_doctor_says_when_it_cannot_know(environ: dict[str, str]) -> None:
    report = examination.examine(None, sys.executable, network=False, environ=environ)
    assert report.telemetry == []
    assert "none found" in report.dropped
    off = examination.examine(None, sys.executable, network=False, environ=environ | {"DIFY_OTEL_STATUS_DIR": "off"})
    assert ": off)" in off.dropped


def test_a_tree_that_is_only_looked_at_has_no_processes(tree: Any, environ: dict[str, str]) -> None:
    keeper(Path(environ["DIFY_OTEL_STATUS_DIR"])).begin()
    assert examination.examine(str(tree("D")), sys.executable, network=False, environ=environ).telemetry == []


# --- real processes


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[processes.Backing]:
    why = processes.missing()
    if why:
        pytest.skip(why)
    with processes.backing(tmp_path_factory.mktemp("status-servers"), sys.executable) as backing:
        yield backing


def agent(place: Path, endpoint: str, **more: str) -> dict[str, str]:
    return {
        "PYTHONPATH": str(INJECT),
        "DIFY_OTEL_STATUS_DIR": str(place),
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "1100",
        **more,
    }


def doctor(variables: dict[str, str]) -> dict[str, Any]:
    paths = [str(INJECT), str(ROOT / "bootstrap"), str(ROOT / "instrumentors")]
    done = subprocess.run(
        [sys.executable, "-m", "dify_otel.cli", "doctor", "--json", "--no-network"],
        env={"PATH": os.environ["PATH"], **variables, "PYTHONPATH": os.pathsep.join(paths)},
        cwd=processes.DIFY,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    said: dict[str, Any] = json.loads(done.stdout)
    assert said["exit_code"] == done.returncode
    return said


def mine(telemetry: list[dict[str, Any]], place: Path) -> list[dict[str, Any]]:
    """Without what other stand-ins on this machine say: the doctor finds them as well, by their working folder."""
    pids = {said["pid"] for said in status.read([place])[0]}
    return [said for said in telemetry if said["pid"] in pids]


def until(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "not in time"
        time.sleep(0.1)
    return found


def ask(servers: processes.Backing, case: str = "wf-main:stream") -> None:
    assert drive.call(servers.base, servers.apps, drive.CASES[case]).status == "succeeded"


@pytest.mark.process
def test_api_and_worker_under_gevent(servers: processes.Backing, tmp_path: Path) -> None:
    with Receiver() as receiver:
        variables = agent(tmp_path, f"http://user:canary@127.0.0.1:{receiver.grpc_port}/canary?canary=1")
        variables["OTEL_EXPORTER_OTLP_HEADERS"] = "authorization=canary"
        with (
            processes.api(servers, environment=variables, name="api-status") as api,
            processes.worker(servers, environment=variables, name="worker-status") as worker,
        ):
            # The arbiter of gunicorn exports nothing and says nothing.
            assert len(until(lambda: [f for f in tmp_path.iterdir() if f.suffix == ".json"])) == 2
            assert api.pid not in {s["pid"] for s in status.read([tmp_path])[0]}
            assert worker.pid in {s["pid"] for s in status.read([tmp_path])[0]}
            for file in tmp_path.iterdir():
                assert stat.S_IMODE(file.stat().st_mode) == 0o600
                assert b"canary" not in file.read_bytes()
            told = mine(doctor(variables)["telemetry"], tmp_path)
            assert sorted(p["role"] for p in told) == ["api", "worker"]
            for process in told:
                assert process["door"] == "sitecustomize"
                assert process["seams_on"] > 30
                assert process["exporter"] == "otlp grpc"
                assert process["endpoint"] == f"127.0.0.1:{receiver.grpc_port}"
    assert list(tmp_path.iterdir()) == [], "removed at the end"


@pytest.mark.process
def test_counts_are_those_of_the_spans(servers: processes.Backing, tmp_path: Path) -> None:
    with Receiver() as receiver:
        variables = agent(tmp_path, receiver.grpc_endpoint)
        with (
            processes.api(servers, environment=variables, name="api-counts"),
            processes.worker(servers, environment=variables, name="worker-counts", pool="prefork", concurrency=2),
        ):
            # The parent of a prefork pool exports nothing: one API worker and two children.
            assert len(until(lambda: len(list(tmp_path.glob("*.json"))) >= 3 and list(tmp_path.glob("*.json")))) == 3
            for _ in range(3):
                ask(servers)

            def agrees() -> Any:
                said, _ = status.read([tmp_path])
                exported = {p["pid"]: p["spans"]["exported"] for p in said}
                arrived: dict[Any, int] = {}
                for span in receiver.spans:
                    pid = span.resource["process.pid"]
                    arrived[pid] = arrived.get(pid, 0) + 1
                return arrived and {p: n for p, n in exported.items() if n} == arrived and said

            said = until(agrees)
            assert all(sum(p["spans"]["dropped"].values()) == 0 for p in said)
            told = mine(doctor(variables)["telemetry"], tmp_path)
            before = {p["pid"]: p["spans"]["exported"] for p in said}
            assert [p["pid"] for p in told] == list(before)
            assert all(p["spans"]["exported"] >= before[p["pid"]] for p in told)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.process
def test_drops_are_told_and_a_killed_process_is_forgotten(
    servers: processes.Backing, tmp_path: Path, free_port: int
) -> None:
    variables = agent(
        tmp_path,
        f"http://127.0.0.1:{free_port}",
        OTEL_BSP_MAX_QUEUE_SIZE="8",
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE="4",
        OTEL_EXPORTER_OTLP_TIMEOUT="1",
        OTEL_METRICS_EXPORTER="none",
    )
    with processes.api(servers, environment=variables, name="api-drops", worker_class="gthread") as api:

        def dropped() -> Any:
            drive.call(servers.base, servers.apps, drive.CASES["chat-dataset:stream"])
            found = status.read([tmp_path])[0]
            return found and all(found[0]["spans"]["dropped"].values()) and found[0]

        process = until(dropped, 60)
        said = doctor(variables)
        (problem,) = [p for p in said["problems"] if p["about"] == "export" and f"(pid {process['pid']})" in p["text"]]
        assert "queue" in problem["text"] and "export" in problem["text"]
        assert said["exit_code"] >= 1
        os.kill(process["pid"], 9)
        # gunicorn starts another, which takes the old file away.
        until(lambda: [f for f in tmp_path.glob("*.json") if f"-{process['pid']}." not in f.name])
        assert not list(tmp_path.glob(f"*-{process['pid']}.json"))
        assert api.pid not in {s["pid"] for s in status.read([tmp_path])[0]}
