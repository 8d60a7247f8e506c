"""The compose overlays, merged by a real Compose with bases of both layouts Dify has had: nothing of Dify's is lost.

Separate from test_install_agent because merging needs no container and no package, only Compose itself.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

COMPOSE_DIR = Path(__file__).parents[2] / "deploy" / "compose"
SCRIPT = COMPOSE_DIR / "dify-otel-compose"
BASES = Path(__file__).parent / "bases"
LAYOUTS = ("shared-env", "env-file")
PYTHON_SERVICES = {
    "shared-env": ("api", "worker", "worker_beat"),
    "env-file": ("api", "worker", "worker_beat", "api_websocket"),
}

Config = dict[str, Any]
Merge = Callable[..., Config]


@pytest.fixture(params=LAYOUTS)
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A directory like Dify's docker/, whose compose file is one of the bases."""
    directory = tmp_path / "docker"
    directory.mkdir()
    (directory / "docker-compose.yaml").write_text((BASES / f"{request.param}.yaml").read_text())
    # As a copied shared.env sets it: the empty string, which the SDK refuses.
    (directory / ".env").write_text("OTEL_EXPORTER_OTLP_PROTOCOL=\nSECRET_KEY=x\n")
    (directory / "layout").write_text(request.param)
    return directory


def layout(project: Path) -> str:
    return (project / "layout").read_text()


@pytest.fixture
def run_script(compose: Path, clean_env: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(directory: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [SCRIPT, *args],
            cwd=directory,
            env={**clean_env, "DIFY_OTEL_COMPOSE": str(compose), "DOCKER_HOST": "unix:///nonexistent", **env},
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


@pytest.fixture
def merged(run_script: Callable[..., subprocess.CompletedProcess[str]]) -> Merge:
    def merge(directory: Path, *options: str, **env: str) -> Config:
        done = run_script(directory, *options, "--", "--profile", "*", "config", "--format", "json", **env)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    return merge


@pytest.fixture
def base_config(compose: Path, project: Path, clean_env: dict[str, str]) -> Config:
    done = subprocess.run(
        [compose, "--profile", "*", "config", "--format", "json"],
        cwd=project,
        env=clean_env,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


OPTIONS = [(), ("--with", "web", "--with", "obi", "--with", "squid"), ("--backend", "jaeger", "--with", "jaeger")]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: " ".join(o) or "plain")
def test_nothing_of_dify_is_lost(merged: Merge, project: Path, base_config: Config, options: tuple[str, ...]) -> None:
    config = merged(project, *options)
    for name, before in base_config["services"].items():
        after = config["services"][name]
        assert set(before.get("networks", {})) == set(after.get("networks", {})), name
        assert set(before.get("depends_on", {})) <= set(after.get("depends_on", {})), name
        assert {v["target"] for v in before.get("volumes", [])} <= {v["target"] for v in after.get("volumes", [])}, name
        for key in ("ports", "healthcheck", "profiles", "restart"):
            assert before.get(key) == after.get(key), (name, key)
        if name != "nginx":
            assert before["image"] == after["image"], name
        changed = {k for k, v in (before.get("environment") or {}).items() if (after.get("environment") or {})[k] != v}
        allowed = {"OTEL_EXPORTER_OTLP_PROTOCOL", "ENABLE_OTEL", "OTLP_BASE_ENDPOINT"}
        assert changed <= allowed, (name, changed)
        if name not in ("plugin_daemon",):
            assert "ENABLE_OTEL" not in changed, "Dify's own switch is the user's"
        if name not in ("nginx", "ssrf_proxy"):
            assert before.get("entrypoint") == after.get("entrypoint"), name
    for name, network in base_config["networks"].items():
        assert config["networks"][name] == network


def test_the_agent_is_on_every_python_service_and_on_no_other(merged: Merge, project: Path) -> None:
    services = merged(project)["services"]
    ours = {name for name, s in services.items() if "PYTHONPATH" in (s.get("environment") or {})}
    assert ours == set(PYTHON_SERVICES[layout(project)])
    for name in ours:
        env = services[name]["environment"]
        assert env["PYTHONPATH"] == "/opt/dify-otel/python/dify_otel/inject"
        assert env["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://otel-collector:4317"
        assert env["OTEL_EXPORTER_OTLP_PROTOCOL"] == "grpc"
        assert env["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] == "NO_CONTENT"
        # The role's name comes from MODE.
        assert "OTEL_SERVICE_NAME" not in env
        assert services[name]["depends_on"]["dify-otel-init"]["condition"] == "service_completed_successfully"
        mount = next(v for v in services[name]["volumes"] if v["target"] == "/opt/dify-otel/python")
        assert mount["read_only"] is True


def test_every_python_service_has_the_same_settings(merged: Merge, project: Path) -> None:
    """The add-ons repeat the base overlay's settings: what one is told all are told."""
    services = merged(project, DIFY_OTEL_CONTENT="SPAN_ONLY", DIFY_OTEL_INFRA_SPANS="all")["services"]
    ours = {
        name: {k: v for k, v in services[name]["environment"].items() if k.startswith(("DIFY_OTEL", "OTEL_", "PYTHON"))}
        for name in PYTHON_SERVICES[layout(project)]
    }
    assert ours["api"]["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] == "SPAN_ONLY"
    assert all(settings == ours["api"] for settings in ours.values())


def test_the_collector_reaches_every_service(merged: Merge, project: Path) -> None:
    collector = merged(project)["services"]["otel-collector"]
    assert set(collector["networks"]) == {"default", "ssrf_proxy_network"}
    assert "ports" not in collector, "nothing of the collector is open on the host"
    files = [c.removeprefix("--config=/etc/otelcol/") for c in collector["command"]]
    assert all((COMPOSE_DIR.parent / "collector" / f).is_file() for f in files)
    assert int(collector["mem_limit"]) >= 512 * 1024 * 1024


def test_mounted_files_exist(merged: Merge, project: Path) -> None:
    config = merged(project, "--with", "web", "--with", "obi", "--with", "squid")
    sources = {v["source"] for s in config["services"].values() for v in s.get("volumes", []) if v["type"] == "bind"}
    ours = [Path(s) for s in sources if s.startswith(str(COMPOSE_DIR.parent))]
    assert len(ours) >= 6
    assert [p for p in ours if not p.exists()] == []


def test_add_ons_follow_the_services(run_script: Callable[..., Any], project: Path) -> None:
    line = run_script(project).stdout
    files = [Path(p).name for p in shlex.split(line) if p.endswith(".yaml")]
    expected = ["docker-compose.yaml", "docker-compose.otel.yaml", "docker-compose.otel.beat.yaml"]
    if layout(project) == "env-file":
        expected += ["docker-compose.otel.websocket.yaml", "docker-compose.otel.agent.yaml"]
    assert files == expected
    assert line.rstrip().endswith("up -d")


def test_agent_backend_gets_variables_only(merged: Merge, project: Path) -> None:
    if layout(project) != "env-file":
        pytest.skip("this layout has no agent_backend")
    service = merged(project)["services"]["agent_backend"]
    assert service["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://otel-collector:4318"
    assert "PYTHONPATH" not in service["environment"]
    assert "volumes" not in service


def test_plugin_daemon_samples_as_the_api_does(merged: Merge, project: Path) -> None:
    env = merged(project)["services"]["plugin_daemon"]["environment"]
    assert env["ENABLE_OTEL"] == "true"
    assert env["OTEL_SAMPLING_RATE"] == "1.0"
    # straight to a backend would show each heartbeat of the daemon's as a trace
    assert env["OTLP_TRACE_ENDPOINT"] == "http://otel-collector:4318/v1/traces"
    (project / "dify-otel.env").write_text("DIFY_OTEL_SAMPLER_ARG=0.1\nDIFY_OTEL_PLUGIN_DAEMON_ENABLED=false\n")
    services = merged(project)["services"]
    env = services["plugin_daemon"]["environment"]
    assert env["ENABLE_OTEL"] == "false"
    assert env["OTEL_SAMPLING_RATE"] == services["api"]["environment"]["OTEL_TRACES_SAMPLER_ARG"] == "0.1"


def test_arms_records_content_in_plain_sight(merged: Merge, project: Path) -> None:
    (project / "dify-otel.env").write_text(
        "DIFY_OTEL_BACKEND=arms\nDIFY_OTEL_BACKEND_ENDPOINT=h:8090\nDIFY_OTEL_BACKEND_TOKEN=k\n"
    )
    services = merged(project)["services"]
    content = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
    assert services["api"]["environment"][content] == "SPAN_ONLY"
    assert services["worker"]["environment"][content] == "SPAN_ONLY"
    assert services["otel-collector"]["command"][-1].endswith("exporters/arms.yaml")
    assert services["otel-collector"]["environment"]["DIFY_OTEL_BACKEND_TOKEN"] == "k"
    # and the key goes to the collector alone
    assert [n for n, s in services.items() if "DIFY_OTEL_BACKEND_TOKEN" in (s.get("environment") or {})] == [
        "otel-collector"
    ]


def test_unset_backend_settings_stay_unset(merged: Merge, project: Path) -> None:
    """An empty variable would beat the defaults in collector/exporters."""
    env = merged(project)["services"]["otel-collector"]["environment"]
    assert not env.get("DIFY_OTEL_BACKEND_ENDPOINT")
    assert env.get("DIFY_OTEL_BACKEND_ENDPOINT", None) is None


@pytest.mark.parametrize("key", ["plain", "a$b${c}", "a'b", 'a"b', "x@y_z#1", "tr\\ail"])
def test_printed_settings_arrive_in_the_collector(merged: Merge, project: Path, key: str) -> None:
    printed = subprocess.run(
        [
            sys.executable,
            "-c",
            "import argparse, sys; from dify_otel import backend_env as b; p = argparse.ArgumentParser();"
            "b.add_arguments(p); sys.exit(b.run(p.parse_args()))",
            *("--backend", "otlp", "--endpoint", "collector.example:4317", "--license-key", key),
            *("--app-name", "my shop", "--format", "compose"),
        ],
        env={"PYTHONPATH": str(Path(__file__).parents[2] / "bootstrap"), "PATH": "/usr/bin:/bin"},
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert printed.returncode == 0, printed.stderr
    (project / "dify-otel.env").write_text(printed.stdout)
    services = merged(project)["services"]
    env = services["otel-collector"]["environment"]
    # `config` writes a literal dollar sign twice.
    assert env["DIFY_OTEL_BACKEND_TOKEN"].replace("$$", "$") == f"Bearer {key}"
    assert env["DIFY_OTEL_BACKEND_ENDPOINT"] == "collector.example:4317"
    assert "service.namespace=my shop," in services["api"]["environment"]["OTEL_RESOURCE_ATTRIBUTES"]


def test_offline_takes_the_wheel_and_difys_own_image(merged: Merge, project: Path, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels with blank"
    wheels.mkdir()
    (wheels / "dify_otel-0.1.0-py3-none-any.whl").touch()
    init = merged(project, "--wheels", str(wheels))["services"]["dify-otel-init"]
    assert init["image"].startswith("langgenius/dify-api:1.")
    assert init["network_mode"] == "none"
    assert init["entrypoint"] == ["sh", "/opt/dify-otel/install-agent.sh"]
    assert {"source": str(wheels), "target": "/wheels"}.items() <= {
        k: v for mount in init["volumes"] if mount["target"] == "/wheels" for k, v in mount.items()
    }.items()


# --- the script refuses, in words -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "args, words",
    [
        (["--backend", "zipkin"], "unknown backend 'zipkin'"),
        (["--with", "moon"], "unknown overlay 'moon'"),
        (["--base", "nowhere.yaml"], "no compose file nowhere.yaml"),
        (["--wheels", "/no/such"], "--wheels: no such directory"),
        (["--wheels", "."], "no dify_otel-*.whl"),
        (["--env-file", "gone.env"], "no file gone.env"),
        (["--bogus"], "unknown option --bogus"),
        (["--backend"], "--backend needs a value"),
        (["--with", "jaeger", "--backend", "arms"], "exclude each other"),
    ],
)
def test_refusals(run_script: Callable[..., Any], project: Path, args: list[str], words: str) -> None:
    done = run_script(project, *args)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stdout == ""


def test_a_base_without_difys_services_is_refused(run_script: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "docker-compose.yaml").write_text("services:\n  db_postgres:\n    image: x\n  redis:\n    image: y\n")
    done = run_script(tmp_path)
    assert done.returncode == 2
    assert "has no service 'api'" in done.stderr
    assert "db_postgres redis" in done.stderr


@pytest.mark.parametrize("answer", ["1.29.2", "2.19.1", "v2.4.1+ds1", ""])
def test_an_old_compose_is_refused(run_script: Callable[..., Any], project: Path, tmp_path: Path, answer: str) -> None:
    old = tmp_path / "old-compose"
    old.write_text(f"#!/bin/sh\necho '{answer}'\n")
    old.chmod(0o755)
    done = run_script(project, DIFY_OTEL_COMPOSE=str(old))
    assert done.returncode == 2
    assert "2.20" in done.stderr


@pytest.mark.parametrize("answer", ["2.20.0", "v2.40.3", "5.0.1", "2.26.1-4"])
def test_a_new_compose_is_taken(run_script: Callable[..., Any], project: Path, tmp_path: Path, answer: str) -> None:
    new = tmp_path / "new-compose"
    new.write_text(f"#!/bin/sh\necho '{answer}'\n")
    new.chmod(0o755)
    assert run_script(project, DIFY_OTEL_COMPOSE=str(new)).returncode == 0


def test_no_compose_at_all(project: Path, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "awk", "sort", "grep", "dirname", "readlink", "tr", "env", "sed", "tail"):
        (tools / name).symlink_to(Path("/usr/bin") / name)
    done = subprocess.run(
        [SCRIPT], cwd=project, env={"PATH": str(tools)}, check=False, capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 2
    assert "neither" in done.stderr
