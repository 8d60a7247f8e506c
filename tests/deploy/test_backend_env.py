"""`dify-otel env`: the printed settings do what they say in a shell, in compose and in Helm, and errors show no key.

Separate from test_backends: here the text is the product.
"""

from __future__ import annotations

import argparse
import subprocess

import pytest
import yaml
from dify_otel import backend_env

HOST = "http://tracing-cn-heyuan.arms.aliyuncs.com"


def printed(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> tuple[str, str]:
    parser = argparse.ArgumentParser(prog="dify-otel env")
    backend_env.add_arguments(parser)
    assert backend_env.run(parser.parse_args(argv)) == code
    out, err = capsys.readouterr()
    return out, err


def in_a_shell(text: str, name: str, **env: str) -> str:
    ran = subprocess.run(
        ["bash", "-c", f'set -a; eval "$SETTINGS"; printf %s "${name}"'],
        env={"SETTINGS": text, "PATH": "/usr/bin:/bin", **env},
        check=False,
        capture_output=True,
        text=True,
        timeout=10,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_env_for_arms(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = printed(
        capsys, "--backend", "arms", "--endpoint", HOST, "--license-key", "k@1_2", "--app-name", "my shop"
    )
    assert in_a_shell(out, "OTEL_EXPORTER_OTLP_ENDPOINT") == HOST + ":8090"
    assert in_a_shell(out, "OTEL_EXPORTER_OTLP_HEADERS") == "authentication=k@1_2"
    assert in_a_shell(out, "OTEL_SERVICE_NAME") == "my shop"
    assert "acs.arms.service.feature=genai_app" in in_a_shell(out, "OTEL_RESOURCE_ATTRIBUTES")
    assert "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT" not in out
    assert "not recorded" in err
    assert "k@1_2" not in err


def test_content_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = printed(capsys, "--backend", "arms", "--endpoint", HOST, "--license-key", "k", "--content")
    assert in_a_shell(out, "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT") == "SPAN_ONLY"


@pytest.mark.parametrize("key", ["a$HOME", "a`id`b", "a'b", 'a"b', "a\\b", "a;b", "a#b", "a%41b", "a,b=c"])
def test_odd_keys_survive_a_shell_and_the_header_syntax(capsys: pytest.CaptureFixture[str], key: str) -> None:
    from urllib.parse import unquote

    out, _ = printed(capsys, "--backend", "otlp", "--endpoint", "h:4317", "--license-key", key)
    header = in_a_shell(out, "OTEL_EXPORTER_OTLP_HEADERS")
    assert header.count(",") == 0
    name, value = header.split("=", 1)
    assert (name, unquote(value)) == ("authorization", f"Bearer {key}")


@pytest.mark.parametrize("form", ["env", "compose", "helm"])
def test_a_reference_in_place_of_the_key(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setenv("ARMS_KEY", "SECRET")
    monkeypatch.setenv("DIFY_OTEL_LICENSE_KEY", "SECRET")
    argv = ("--backend", "arms", "--endpoint", HOST, "--license-key-env", "ARMS_KEY", "--format", form)
    out, err = printed(capsys, *argv)
    assert "SECRET" not in out + err
    if form == "env":
        assert in_a_shell(out, "OTEL_EXPORTER_OTLP_HEADERS", ARMS_KEY="xyz") == "authentication=xyz"
    elif form == "compose":
        assert 'DIFY_OTEL_BACKEND_TOKEN="${ARMS_KEY}"' in out.splitlines()
    else:
        entries = yaml.safe_load(out)
        assert entries[0] == {
            "name": "ARMS_KEY",
            "valueFrom": {"secretKeyRef": {"name": "dify-otel", "key": "license-key"}},
        }
        assert {"name": "OTEL_EXPORTER_OTLP_HEADERS", "value": "authentication=$(ARMS_KEY)"} in entries


def test_the_key_from_the_environment(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIFY_OTEL_LICENSE_KEY", raising=False)
    monkeypatch.setenv("DIFY_OTEL_ARMS_LICENSE_KEY", "from-env")
    out, _ = printed(capsys, "--backend", "arms", "--endpoint", HOST)
    assert in_a_shell(out, "OTEL_EXPORTER_OTLP_HEADERS") == "authentication=from-env"


def test_compose_for_arms(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ("--backend", "arms", "--endpoint", HOST, "--license-key", "k", "--app-name", "shop", "--format", "compose")
    out, _ = printed(capsys, *argv)
    assert out.splitlines() == [
        "DIFY_OTEL_BACKEND=arms",
        "DIFY_OTEL_BACKEND_ENDPOINT=tracing-cn-heyuan.arms.aliyuncs.com:8090",
        "DIFY_OTEL_BACKEND_TOKEN=k",
        "DIFY_OTEL_NAMESPACE=shop",
    ]


def test_helm_keeps_role_names_and_dollars(capsys: pytest.CaptureFixture[str]) -> None:
    argv = (
        "--backend",
        "otlp",
        "--endpoint",
        "h:4317",
        "--license-key",
        "a$(b)",
        "--app-name",
        "shop",
        "--format",
        "helm",
    )
    out, _ = printed(capsys, *argv)
    entries = {e["name"]: e["value"] for e in yaml.safe_load(out)}
    assert "OTEL_SERVICE_NAME" not in entries
    # Kubernetes reads $(…) as a reference and $$(…) as itself.
    assert entries["OTEL_EXPORTER_OTLP_HEADERS"] == "authorization=Bearer%20a$$(b)"
    assert entries["OTEL_RESOURCE_ATTRIBUTES"] == "service.namespace=shop"


@pytest.mark.parametrize(
    "argv",
    [
        ("--backend", "arms", "--endpoint", "http://h:SECRET", "--license-key", "SECRET"),
        ("--backend", "arms", "--endpoint", HOST, "--license-key", "SECRET/SECRET"),
        ("--backend", "arms", "--endpoint", "http://SECRET:SECRET@h", "--license-key", "SECRET"),
        ("--backend", "langfuse", "--endpoint", "h", "--license-key", "SECRET"),
        ("--backend", "arms", "--endpoint", HOST, "--license-key-env", "not a name SECRET"),
        (
            "--backend",
            "arms",
            "--endpoint",
            "https://p.cn.log.aliyuncs.com",
            "--license-key",
            "SECRET",
            "--format",
            "compose",
        ),
    ],
)
def test_refusals_show_no_key(capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]) -> None:
    out, err = printed(capsys, *argv, code=2)
    assert out == ""
    assert err.startswith("dify-otel env: ")
    assert "SECRET" not in err
