"""A good guest: a process that is not Dify is as if we were not there; a Dify process is not disturbed either."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import INJECT, ROOT, environment, facts

MODULES = "import sys, json; print('FACTS ' + json.dumps({'modules': sorted(sys.modules), 'path': sys.path}))"
HEAVY = (
    "opentelemetry",
    "threading",
    "ssl",
    "socket",
    "concurrent",
    "logging",
    "gevent",
    "typing",
    "asyncio",
    "select",
)


def interpreters() -> list[Any]:
    found: dict[str, str] = {}
    homes = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for version in ("3.8", "3.9", "3.10", "3.11", "3.13"):
        here = [str(p) for p in sorted(homes.glob(f"{version}*/bin/python{version}"))]
        on_path = shutil.which(f"python{version}")
        for candidate in [*here, *([on_path] if on_path else [])]:
            if subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
                found[version] = candidate
                break
    marks = [pytest.param(v, p, id=v) for v, p in found.items()]
    return marks or [pytest.param("", "", marks=pytest.mark.skip("no other Python on this machine"))]


@pytest.mark.parametrize("flags", [(), ("-S",), ("-I",), ("-E",), ("-s",), ("-B", "-X", "utf8")], ids=" ".join)
def test_a_process_that_is_not_dify_loads_nothing_of_ours(run: Any, flags: tuple[str, ...]) -> None:
    without = facts(run(*flags, "-c", MODULES, PYTHONPATH="-").stdout)[0]
    with_us = run(*flags, "-c", MODULES)
    assert with_us.stderr == ""
    told = facts(with_us.stdout)[0]
    more = set(told["modules"]) - set(without["modules"])
    assert not any(name.split(".")[0] in HEAVY for name in more), more
    assert more <= {
        "sitecustomize",
        "dify_otel",
        "dify_otel.start",
        "__future__",
        "importlib",
        "importlib._bootstrap",
        "importlib._bootstrap_external",
        "importlib.machinery",
        "importlib._abc",
        "importlib.util",
        "contextlib",
        "types",
        "warnings",
        "collections",
        "collections.abc",
        "functools",
        "keyword",
        "operator",
        "reprlib",
        "_collections",
        "_functools",
        "_operator",
        "itertools",
    }, more
    extra = [p for p in told["path"] if p not in without["path"]]
    assert extra == ([str(INJECT)] if flags not in (("-I",), ("-E",)) else [])


@pytest.mark.parametrize("switch", [{"DIFY_OTEL_ENABLED": v} for v in ("false", "0", "No", " OFF ")]
                         + [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_SDK_DISABLED": " TRUE"}], ids=str)  # fmt: skip
def test_switched_off_a_dify_process_is_not_touched(run: Any, dify: None, write: Any, switch: dict[str, str]) -> None:
    write(
        "app.py",
        """
        import json, sys
        import app_factory
        before = app_factory.initialize_extensions
        app = app_factory.create_app()
        print("FACTS " + json.dumps({"instrumentors": any("instrumentors" in m for m in sys.modules),
              "sdk": any(m.startswith("opentelemetry.sdk") for m in sys.modules),
              "ours": "dify_otel" in before.__module__ or hasattr(before, "__wrapped__"),
              "finders": [type(f).__module__ for f in sys.meta_path if "dify_otel" in type(f).__module__]}))
        """,
    )
    done = run("app.py", **switch)
    assert facts(done.stdout) == [{"instrumentors": False, "sdk": False, "ours": False, "finders": []}]
    assert done.stderr == ""


@pytest.mark.parametrize("off", [False, True])
def test_a_dify_process_starts_its_sdk_after_its_extensions(run: Any, dify: None, write: Any, off: bool) -> None:
    write(
        "app.py",
        """
        import app_factory, sys, json
        from dify_otel import start
        assert start.State.sdk is None
        app = app_factory.create_app()
        assert app.extensions["ready"]
        print("FACTS " + json.dumps({"sdk": start.State.sdk is not None, "role": start.State.role}))
        """,
    )
    done = run("-m", "app", OTEL_TRACES_EXPORTER="none" if off else "console")
    assert facts(done.stdout) == [{"sdk": True, "role": "api"}]
    assert done.stderr.count("dify-otel") == 1  # one line tells that it is on
    assert "api" in done.stderr


def test_nothing_heavy_is_loaded_before_dify_is_imported(run: Any, dify: None, write: Any) -> None:
    write(
        "app.py", "import sys, json; print('FACTS ' + json.dumps(sorted(sys.modules)))\nfrom app_factory import EARLY\n"
    )
    early = facts(run("-m", "app").stdout)[0]
    assert "dify_otel.start" in early
    assert not [m for m in early if m.split(".")[0] in HEAVY]


# --- chaining

PREVIOUS = "import sys\nsys.previous = getattr(sys, 'previous', 0) + 1\nMARK = 'theirs'\n"


def test_a_previous_sitecustomize_still_runs_once(run: Any, write: Any) -> None:
    folder = write("before/sitecustomize.py", PREVIOUS).parent
    code = "import sys, sitecustomize; print(sys.previous, hasattr(sitecustomize, 'loaded'))"
    for path in (f"{INJECT}{os.pathsep}{folder}", f"{INJECT}/{os.pathsep}{folder}{os.pathsep}{INJECT}"):
        done = run("-c", code, PYTHONPATH=path)
        assert done.stdout.split()[0] == "1"
        assert done.stderr == ""


def test_a_previous_sitecustomize_package_still_runs(run: Any, write: Any) -> None:
    folder = write("before/sitecustomize/__init__.py", PREVIOUS).parents[1]
    write("before/sitecustomize/part.py", "VALUE = 7")
    done = run("-c", "import sys; print(sys.previous)", PYTHONPATH=f"{INJECT}{os.pathsep}{folder}")
    assert done.stdout == "1\n"


@pytest.mark.parametrize("failure", ["raise RuntimeError('theirs')", "import no_such_module_at_all", "1 / 0"])
def test_a_previous_sitecustomize_that_raises_says_so_as_without_us(run: Any, write: Any, failure: str) -> None:
    folder = write("before/sitecustomize.py", failure).parent
    alone = run("-c", "print('runs')", PYTHONPATH=str(folder))
    with_us = run("-c", "print('runs')", PYTHONPATH=f"{INJECT}{os.pathsep}{folder}")
    assert with_us.stdout == alone.stdout == "runs\n"
    assert with_us.stderr == alone.stderr


def test_a_previous_sitecustomize_that_raises_does_not_cost_the_traces(run: Any, write: Any, dify: None) -> None:
    folder = write("before/sitecustomize.py", "raise RuntimeError('theirs')").parent
    done = run("-m", "app", PYTHONPATH=f"{INJECT}{os.pathsep}{folder}")
    assert "theirs" in done.stderr
    assert "seams hooked" in done.stderr


def test_a_previous_sitecustomize_that_leaves_the_process_may(run: Any, write: Any) -> None:
    folder = write("before/sitecustomize.py", "raise SystemExit(7)").parent
    done = run("-c", "print('runs')", PYTHONPATH=f"{INJECT}{os.pathsep}{folder}", check=False)
    alone = run("-c", "print('runs')", PYTHONPATH=str(folder), check=False)
    assert (done.returncode, done.stdout) == (alone.returncode, alone.stdout)


# --- children, interpreters, places


def test_children_are_inert(run: Any, dify: None, write: Any) -> None:
    write(
        "app.py",
        f"""
        import app_factory, subprocess, sys
        app = app_factory.create_app()
        for command in ([sys.executable, "-c", {MODULES!r}], [sys.executable, "-m", "pip", "--version"]):
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.stderr == "", done.stderr
            print(done.stdout)
        """,
    )
    child = facts(run("-m", "app").stdout)[0]["modules"]
    assert not [m for m in child if m.startswith(("opentelemetry", "dify_otel_instrumentors"))]


@pytest.mark.parametrize("program", ["-c", "-m"])
@pytest.mark.parametrize(("version", "python"), interpreters())
def test_other_interpreters_run_as_before(run: Any, write: Any, version: str, python: str, program: str) -> None:
    write("app.py", "import sys; print('runs')")
    arguments = ("-m", "app") if program == "-m" else ("-c", "print('runs')")
    done = run(*arguments, python=python)
    assert done.stdout == "runs\n"
    lines = [line for line in done.stderr.splitlines() if line]
    if version == "3.10" and program == "-m":  # older ones do not tell how they were started
        assert len(lines) == 1 and "3.11" in lines[0]
    else:
        assert lines == []


def test_a_broken_bundle_does_not_stop_the_process(run: Any, write: Any, tmp_path: Path) -> None:
    """A half-copied folder: the entry without the rest."""
    inject = tmp_path / "half" / "dify_otel" / "inject"
    inject.mkdir(parents=True)
    shutil.copy(INJECT / "sitecustomize.py", inject)
    done = run("-c", "import sys; print('runs', len([p for p in sys.path if 'half' in p]))", PYTHONPATH=str(inject))
    assert done.stdout == "runs 1\n"  # nothing left on the path but what PYTHONPATH put there
    assert done.stderr.splitlines() == ["dify-otel: not started: ImportError"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: Any) -> Path:
    """The agent as a container gets it: a folder by `pip install --no-deps --target`."""
    target = tmp_path_factory.mktemp("agent") / "agent"
    done = subprocess.run(  # noqa: PLW1510
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", target, ROOT],
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.returncode:
        pytest.skip(f"pip cannot build here: {done.stderr.strip().splitlines()[-1:]}")
    return Path(target)


@pytest.mark.process
def test_it_runs_from_a_folder_nobody_may_write_as_nobody(installed: Path, dify: None, tmp_path: Path) -> None:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv to become another user")
    subprocess.run(["chmod", "-R", "a-w,a+rX", str(installed)], check=True)
    for folder in (installed, tmp_path, *installed.parents, *tmp_path.parents):
        if str(folder).startswith("/tmp/"):
            os.chmod(folder, os.stat(folder).st_mode | 0o055)
    python = shutil.which("python3", path="/usr/bin") or sys.executable
    inject = installed / "dify_otel" / "inject"
    prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    probe = subprocess.run([*prefix, sys.executable, "-c", "import flask"], capture_output=True)  # noqa: PLW1510
    interpreter, arguments = (sys.executable, ["-m", "app"]) if probe.returncode == 0 else (python, ["-c", MODULES])
    done = subprocess.run(  # noqa: PLW1510
        [*prefix, interpreter, *arguments],
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(inject), PYTHONPYCACHEPREFIX="-"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "not started" not in done.stderr
    if probe.returncode == 0:
        assert "seams hooked" in done.stderr
    assert not [p for p in installed.rglob("*") if p.stat().st_uid == 65534]


@pytest.mark.process
def test_installed_side_by_side_it_starts(installed: Path, run: Any, dify: None) -> None:
    done = run("-m", "app", PYTHONPATH=str(installed / "dify_otel" / "inject"))
    assert "seams hooked" in done.stderr


@pytest.mark.process
def test_it_starts_from_a_zip(installed: Path, run: Any, dify: None, tmp_path: Path) -> None:
    unpacked = shutil.copytree(installed, tmp_path / "unpacked")
    shutil.copy(INJECT / "sitecustomize.py", unpacked)  # as the release does: beside the packages
    archive = shutil.make_archive(str(tmp_path / "agent"), "zip", unpacked)
    done = run("-m", "app", PYTHONPATH=archive)
    assert "seams hooked" in done.stderr


@pytest.mark.process
def test_start_up_of_other_programs_costs_less_than_five_milliseconds() -> None:
    with_us, without = environment(PYTHONPYCACHEPREFIX="-"), environment(PYTHONPATH="-", PYTHONPYCACHEPREFIX="-")

    def cost(env: dict[str, str]) -> float:
        pid = os.posix_spawn(sys.executable, [sys.executable, "-c", "pass"], env)
        used = os.wait4(pid, 0)[2]  # CPU time: the machine may be busy with other things
        return used.ru_utime + used.ru_stime

    for env in (with_us, without):
        cost(env)
    differences = [cost(with_us) - cost(without) for _ in range(31)]
    assert statistics.median(differences) < 0.005, json.dumps(differences)
