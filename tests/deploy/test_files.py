"""What holds for every file of deploy/: it parses, scripts are sound, and settings said twice say the same.

Separate from the tests of one part each.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
FILES = sorted(p for p in DEPLOY.rglob("*") if p.is_file())
SCRIPTS = [p for p in FILES if p.read_text().startswith("#!")]


@pytest.mark.parametrize("path", [p for p in FILES if p.suffix in (".yaml", ".json")], ids=lambda p: p.name)
def test_parses(path: Path) -> None:
    text = path.read_text()
    assert list(yaml.safe_load_all(text)) if path.suffix == ".yaml" else json.loads(text)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_scripts_are_sound(path: Path) -> None:
    shell = "bash" if "bash" in path.read_text().splitlines()[0] else "sh"
    done = subprocess.run([shell, "-n", path], check=False, capture_output=True, text=True, timeout=10)
    assert done.returncode == 0, done.stderr
    assert path.stat().st_mode & 0o111, "executable"
    if shutil.which("shellcheck"):
        checked = subprocess.run(
            ["shellcheck", "-S", "warning", path], check=False, capture_output=True, text=True, timeout=60
        )
        assert checked.returncode == 0, checked.stdout


def test_the_daemons_settings_are_the_same_everywhere() -> None:
    lines = (DEPLOY / "go" / "plugin-daemon.env").read_text().splitlines()
    env_file = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    overlay = yaml.safe_load((DEPLOY / "compose" / "docker-compose.otel.yaml").read_text())
    overlay_env = overlay["services"]["plugin_daemon"]["environment"]
    chart = yaml.safe_load((DEPLOY / "kubernetes" / "helm" / "borispolonsky-dify-helm.yaml").read_text())
    chart_env = {e["name"]: e["value"] for e in chart["pluginDaemon"]["extraEnv"]}
    assert set(env_file) == set(overlay_env) == set(chart_env)
    assert env_file["ENABLE_OTEL"] == chart_env["ENABLE_OTEL"] == "true"
    assert overlay_env["ENABLE_OTEL"].endswith(":-true}")
    # At 0 what agent strategies ask of Dify would be lost with daemons before 0.6.7.
    assert env_file["OTEL_SAMPLING_RATE"] == chart_env["OTEL_SAMPLING_RATE"] == "1.0"
    assert overlay_env["OTEL_SAMPLING_RATE"] == overlay["services"]["worker"]["environment"]["OTEL_TRACES_SAMPLER_ARG"]


def test_one_collector_version_everywhere() -> None:
    text = "".join(p.read_text() for p in FILES)
    versions = set(re.findall(r"opentelemetry-collector-contrib:([0-9.]+)", text))
    manifest = yaml.safe_load((Path(__file__).parent / "collector-builder.yaml").read_text())
    assert versions == {manifest["dist"]["version"]}


def test_images_are_pinned() -> None:
    for path in (DEPLOY / "compose").glob("docker-compose.otel*.yaml"):
        for service in yaml.safe_load(path.read_text())["services"].values():
            if "image" in service:
                assert re.search(r":[\w.]*\d[\w.-]*\}?$", service["image"]), service["image"]


def test_the_readme_names_every_directory_and_exporter() -> None:
    readme = (DEPLOY / "README.md").read_text()
    for directory in (p.name for p in DEPLOY.iterdir() if p.is_dir()):
        assert f"{directory}/" in readme
    assert "not run" in readme
