"""`dify-otel` as a person meets it: help, completion, version, and what happens when a part is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dify_otel import __version__, cli

ROOT = Path(__file__).resolve().parents[2]
ENV = {
    "PATH": os.environ["PATH"],
    "PYTHONPATH": f"{ROOT / 'bootstrap'}{os.pathsep}{ROOT / 'instrumentors'}",
    "PYTHONDONTWRITEBYTECODE": "1",
    "COLUMNS": "100",
}


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dify_otel.cli", *words],
        env=ENV,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_help_names_every_command_and_an_example_of_use() -> None:
    said = run("--help")
    assert said.returncode == 0
    for command in (*cli.COMMANDS, "completion", "version"):
        assert f"\n    {command}" in said.stdout
    assert "examples:" in said.stdout
    assert "exit codes:" in said.stdout
    assert run().stdout == said.stdout


def test_help_loads_nothing_it_does_not_need() -> None:
    script = (
        "import sys; from dify_otel import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = [m for m in sys.modules if m.split('.')[0] in ('opentelemetry', 'grpc', 'rich', 'asyncio')"
        " or m.startswith('dify_otel_instrumentors') or m in ('dify_otel.doctor', 'dify_otel.tail')]\n"
        "sys.exit(' '.join(heavy) or 0)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], env=ENV, capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("command", [c for c in cli.COMMANDS if c != "demo"])
def test_each_command_explains_itself(command: str) -> None:
    said = run(command, "--help")
    assert said.returncode == 0
    assert f"usage: dify-otel {command}" in said.stdout


def test_version() -> None:
    assert run("version").stdout == run("--version").stdout == f"dify-otel {__version__}\n"


def test_a_command_nobody_knows() -> None:
    said = run("nonsense")
    assert said.returncode == 2
    assert "invalid choice" in said.stderr


def test_a_part_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(cli.COMMANDS, "demo", ("dify_otel.no_such_part", "gone"))
    assert cli.main(["demo"]) == 2
    assert "not part of this installation" in capsys.readouterr().err


def test_bash_completes_commands_and_options() -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    script = cli.completion("bash") + (
        "\nCOMP_WORDS=(dify-otel doc); COMP_CWORD=1; _dify_otel; echo ${COMPREPLY[@]}"
        "\nCOMP_WORDS=(dify-otel doctor --no); COMP_CWORD=2; _dify_otel; echo ${COMPREPLY[@]}"
        "\nCOMP_WORDS=(dify-otel completion f); COMP_CWORD=2; _dify_otel; echo ${COMPREPLY[@]}"
    )
    said = subprocess.run([bash, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert said.stdout.splitlines() == ["doctor", "--no-network", "fish"]


def test_other_shells_get_their_own() -> None:
    assert "bashcompinit" in cli.completion("zsh")
    assert "__fish_seen_subcommand_from doctor" in cli.completion("fish")
