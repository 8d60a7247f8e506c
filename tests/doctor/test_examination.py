"""The doctor on small trees of every generation: what it finds, what it misses, and what its exit code says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dify_otel.doctor import examination, text
from dify_otel.releases import claims
from dify_otel_instrumentors.seams import SEAMS

from .conftest import ENGINES, GENERATIONS

ROOT = Path(__file__).resolve().parents[2]


def examine(dify: Path, environ: dict[str, str], **more: Any) -> examination.Report:
    more.setdefault("network", False)
    return examination.examine(str(dify), sys.executable, environ=environ, **more)


def about(report: examination.Report, subject: str, severity: str | None = None) -> list[str]:
    return [p.text for p in report.problems if p.about == subject and severity in (None, p.severity)]


@pytest.mark.parametrize("generation", sorted(GENERATIONS))
def test_every_generation_is_found_complete(tree: Any, environ: dict[str, str], generation: str) -> None:
    report = examine(tree(generation), environ)
    release = GENERATIONS[generation]
    assert (report.dify["release"], report.dify["found_by"]) == (release, "pyproject.toml")
    assert about(report, "seams") == []
    found = {s.name for s in report.seams if s.state == "found"}
    assert found == {s.name for s in SEAMS if claims(s, release)}
    assert {s.state for s in report.seams} <= {"found", "not in this release"}
    node = next(s for s in report.seams if s.name == "node.run")
    assert len(node.found) == 1
    assert node.found[0].startswith(ENGINES[generation])


def test_a_missing_seam_names_what_is_lost(tree: Any, environ: dict[str, str]) -> None:
    report = examine(tree("D", without=("ModelInstance.invoke_llm",)), environ)
    seam = next(s for s in report.seams if s.name == "model.chat")
    assert (seam.state, seam.found) == ("absent", ())
    assert about(report, "seams") == ["model.chat is absent; lost: model calls: tokens, price, time to first chunk"]
    assert report.exit_code >= 1


def test_a_lost_parameter_is_drift(tree: Any, environ: dict[str, str]) -> None:
    changed = {"core.model_manager:ModelInstance.invoke_rerank": ("query", "documents", "top_n")}
    report = examine(tree("B", changed=changed), environ)
    seam = next(s for s in report.seams if s.name == "model.rerank")
    assert seam.state == "drifted"
    assert seam.drifted == {"core.model_manager:ModelInstance.invoke_rerank": ("docs", "score_threshold")}
    assert "docs, score_threshold" in about(report, "seams", "degraded")[0]


def test_a_parameter_moved_by_another_is_no_drift(tree: Any, environ: dict[str, str]) -> None:
    changed = {"core.helper.moderation:check_moderation": ("session", "tenant_id", "model_config", "text")}
    assert about(examine(tree("D", changed=changed), environ), "seams") == []


def test_without_the_moment_of_readiness_nothing_works(tree: Any, environ: dict[str, str]) -> None:
    dify = tree("D")
    (dify / "api" / "app_factory.py").write_text("def create_app(): ...\n")
    report = examine(dify, environ)
    assert report.exit_code == 2
    assert "app_factory:initialize_extensions is absent" in about(report, "seams", "broken")[0]


def test_an_engine_that_is_not_there_is_not_called_absent(tree: Any, environ: dict[str, str], tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    report = examination.examine(str(tree("D", without=("graphon.",))), str(bare), environ=environ, network=False)
    assert len(about(report, "seams", "degraded")) == 1
    assert "graphon, which was not found" in about(report, "seams")[0]


@pytest.mark.parametrize(("release", "severity"), [("1.4.3", "degraded"), ("2.3.0", "note"), ("1.16.9", "note")])
def test_releases_nobody_looked_at(tree: Any, environ: dict[str, str], release: str, severity: str) -> None:
    report = examine(tree("D", release=release), environ)
    assert release in about(report, "dify", severity)[0]


def test_no_dify_at_all(tmp_path: Path, environ: dict[str, str]) -> None:
    report = examine(tmp_path, environ)
    assert report.exit_code == 2
    assert "no app_factory.py" in about(report, "dify", "broken")[0]


def test_a_disabled_seam_is_off(tree: Any, environ: dict[str, str]) -> None:
    report = examine(tree("D"), environ | {"DIFY_OTEL_SEAMS_DISABLED": "model,sandbox"})
    off = {s.name for s in report.seams if s.state == "off"}
    assert off == {s.name for s in SEAMS if s.name.startswith("model.")} | {"sandbox"}


# --- door, role, spans


def test_the_door_is_found_and_its_absence_said(tree: Any, environ: dict[str, str]) -> None:
    dify = tree("D")
    assert examine(dify, environ).door["kind"] == "sitecustomize"
    bare = {k: v for k, v in environ.items() if k != "PYTHONPATH"}
    assert examine(dify, bare).door["kind"] == "none"
    distro = bare | {"OTEL_PYTHON_DISTRO": "dify", "OTEL_PYTHON_CONFIGURATOR": "dify"}
    assert examine(dify, distro).door["kind"] == "opentelemetry-instrument"


def test_a_folder_that_is_not_ours_any_more(tree: Any, environ: dict[str, str], tmp_path: Path) -> None:
    gone = tmp_path / "dify_otel" / "inject"
    report = examine(tree("D"), environ | {"PYTHONPATH": str(gone)})
    assert report.exit_code == 2
    assert str(gone) in about(report, "door", "broken")[0]


@pytest.mark.parametrize(("name", "value"), [("DIFY_OTEL_ENABLED", "false"), ("OTEL_SDK_DISABLED", "true")])
def test_switched_off_is_not_working(tree: Any, environ: dict[str, str], name: str, value: str) -> None:
    report = examine(tree("D"), environ | {name: value})
    assert report.exit_code == 2
    assert f"switched off by {name}={value}" in about(report, "door", "broken")[0]


def test_role_by_mode(tree: Any, environ: dict[str, str]) -> None:
    assert examine(tree("D"), environ | {"MODE": "worker"}).role == {"role": "worker", "found_by": "MODE"}


@pytest.mark.parametrize(
    ("generation", "given", "provider", "spans", "degraded"),
    [
        ("D", {}, "ours", "Dify makes none", 0),
        ("D", {"ENABLE_OTEL": "true"}, "Dify's", "made inert", 1),
        ("D", {"ENABLE_OTEL": "true", "OTEL_SAMPLING_RATE": "1"}, "Dify's", "made inert", 0),
        ("D", {"ENABLE_OTEL_FOR_INSTRUMENT": "true"}, "ours", "made inert", 0),
        ("D", {"ENABLE_OTEL_FOR_INSTRUMENT": "true", "DIFY_OTEL_NATIVE_SPANS": "dify"}, "ours", "Dify's and ours", 0),
        ("A", {"ENABLE_OTEL_FOR_INSTRUMENT": "true"}, "ours", "Dify makes none", 0),
    ],
)
def test_whose_spans(
    tree: Any, environ: dict[str, str], generation: str, given: Any, provider: str, spans: str, degraded: int
) -> None:
    report = examine(tree(generation), environ | given)
    assert report.spans["provider"].startswith(provider)
    assert spans in report.spans["app and node spans"]
    assert len(about(report, "sampling", "degraded")) == degraded


def test_difys_switch_in_its_env_file_counts(tree: Any, environ: dict[str, str]) -> None:
    dify = tree("D")
    (dify / "api" / ".env").write_text("ENABLE_OTEL=true\nDIFY_OTEL_DIALECTS=otel\n")
    report = examine(dify, environ)
    assert report.spans["provider"].startswith("Dify's")
    assert "only in Dify's .env file" in about(report, "settings", "degraded")[0]


# --- settings


def setting(report: examination.Report, name: str) -> examination.SettingState:
    return next(s for s in report.settings if s.name == name)


def test_settings_as_understood_with_their_source(tree: Any, environ: dict[str, str]) -> None:
    given = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true", "DIFY_OTEL_INFRA_SPANS": "ALL"}
    report = examine(tree("D"), environ | given)
    mode = setting(report, "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT")
    assert (mode.value, mode.source) == ("SPAN_ONLY", "environment")
    assert setting(report, "DIFY_OTEL_INFRA_SPANS").value == "all"
    assert setting(report, "DIFY_OTEL_INFRA_SLOW_MS") == examination.SettingState(
        "DIFY_OTEL_INFRA_SLOW_MS", "10", "default"
    )


def test_what_is_not_understood_is_said(tree: Any, environ: dict[str, str]) -> None:
    report = examine(tree("D"), environ | {"DIFY_OTEL_INFRA_SPANS": "some", "DIFY_OTEL_DIALECT": "otel"})
    said = about(report, "settings", "degraded")
    assert any("'some' is not understood" in s for s in said)
    assert "DIFY_OTEL_DIALECT is not a setting of dify-otel" in said
    assert any(p.advice == "Did you mean DIFY_OTEL_DIALECTS?" for p in report.problems)


def test_secrets_are_nowhere(tree: Any, environ: dict[str, str]) -> None:
    secret = "s3cr3t-value"
    given = {
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{secret},x-scope=team",
        "DIFY_OTEL_ARMS_LICENSE_KEY": secret,
        "DIFY_OTEL_USER_ID_SALT": secret,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://user:{secret}@127.0.0.1:9/adapt_{secret}/api",
        "OTLP_API_KEY": secret,
    }
    report = examine(tree("D"), environ | given)
    assert secret not in report.as_json()
    assert secret not in text.render(report, details=True)
    assert setting(report, "OTEL_EXPORTER_OTLP_HEADERS").value == "authorization=***,x-scope=***"


@pytest.mark.parametrize(
    ("sampler", "argument", "severity"),
    [("always_off", "", "broken"), ("parentbased_traceidratio", "0", "broken"), ("traceidratio", "7", "degraded")],
)
def test_sampling_that_loses_everything(
    tree: Any, environ: dict[str, str], sampler: str, argument: str, severity: str
) -> None:
    given = {"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": argument}
    assert about(examine(tree("D"), environ | given), "sampling", severity)


# --- the command


def run(*arguments: str, environ: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    paths = [environ["PYTHONPATH"], str(ROOT / "bootstrap"), str(ROOT / "instrumentors")]
    return subprocess.run(
        [sys.executable, "-m", "dify_otel.cli", "doctor", *arguments],
        env=environ | {"PYTHONPATH": ":".join(paths), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_text_fits_80_columns_and_has_no_colour_off_a_terminal(tree: Any, environ: dict[str, str]) -> None:
    dify = tree("C")
    ran = run("--no-network", "--all", "--python", sys.executable, environ=environ | {"LC_ALL": "C.UTF-8"}, cwd=dify)
    assert "\x1b" not in ran.stdout
    # A path or name cannot be broken without becoming another one.
    long = [line for line in ran.stdout.splitlines() if len(line) > 80 and max(map(len, line.split())) < 50]
    assert long == []
    assert "1.13.3" in ran.stdout
    assert f"(exit code {ran.returncode})" in ran.stdout


def test_text_where_only_ascii_can_be_printed(tree: Any, environ: dict[str, str]) -> None:
    ran = run("--no-network", environ=environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}, cwd=tree("C"))
    assert "Traceback" not in ran.stderr
    assert "release" in ran.stdout


def test_colour_on_a_terminal_only(tree: Any, environ: dict[str, str]) -> None:
    report = examine(tree("C"), environ)
    assert "\x1b[" in text.render(report, colour=True)
    assert "\x1b[" not in text.render(report)


def test_json_and_exit_code_agree(tree: Any, environ: dict[str, str]) -> None:
    dify = tree("B", without=("CodeExecutor",))
    ran = run("--no-network", "--json", "--dify", str(dify), environ=environ, cwd=dify.parent)
    said = json.loads(ran.stdout)
    assert said["exit_code"] == ran.returncode
    assert said["status"] in ("degraded", "broken")
    assert {s["name"]: s["state"] for s in said["seams"]}["sandbox"] == "absent"
    assert "sandbox is absent; lost: code executions in the sandbox" in [p["text"] for p in said["problems"]]


def test_in_a_container_it_finds_dify_where_it_stands(tree: Any, environ: dict[str, str]) -> None:
    dify = tree("B")
    ran = run("--no-network", "--json", environ=environ, cwd=dify / "api")
    assert json.loads(ran.stdout)["dify"]["api"] == str(dify / "api")


def test_it_imports_nothing_of_dify(tree: Any, environ: dict[str, str], tmp_path: Path) -> None:
    dify = tree("B")
    for file in (dify / "api").rglob("*.py"):
        file.write_text(f"open({str(tmp_path / 'imported')!r}, 'w')\n" + file.read_text())
    run("--no-network", "--json", environ=environ, cwd=dify / "api")
    assert not (tmp_path / "imported").exists()
