"""Backends: every way a person may paste an endpoint and a key, and what must come out; keys never in what is shown.

Separate from test_backend_env, which looks at the printed forms.
"""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import pytest
from dify_otel.backends import BACKENDS, Backend, BackendError, environment, masked, resolve

KEY = "abc123@def456_ghi789@jkl012"
HANGZHOU = "http://tracing-analysis-dc-hz.aliyuncs.com:8090"
HEYUAN = "http://tracing-cn-heyuan.arms.aliyuncs.com:8090"


def arms(endpoint: str, key: str | None = KEY, app: str | None = "shop", **more: str) -> Backend:
    return resolve("arms", endpoint, key, app, **more)


@pytest.mark.parametrize(
    "endpoint, expected",
    [
        ("http://tracing-analysis-dc-hz.aliyuncs.com", HANGZHOU),
        ("https://tracing-analysis-dc-hz.aliyuncs.com", HANGZHOU),
        ("tracing-analysis-dc-hz.aliyuncs.com", HANGZHOU),
        ("tracing-analysis-dc-hz.aliyuncs.com:8090", HANGZHOU),
        ("http://tracing-analysis-dc-hz.aliyuncs.com:8090/", HANGZHOU),
        ("https://tracing-analysis-dc-hz.aliyuncs.com:443", HANGZHOU),
        ("http://tracing-analysis-dc-hz.aliyuncs.com:80/adapt_" + KEY + "/api/otlp/traces", HANGZHOU),
        ("http://tracing-analysis-dc-hz.aliyuncs.com/api/otlp/metrics", HANGZHOU),
        ("http://tracing-analysis-dc-hz.aliyuncs.com:4317", HANGZHOU),
        ("  http://TRACING-analysis-dc-hz.aliyuncs.com \n", HANGZHOU),
        ("\u3000'http://tracing-analysis-dc-hz.aliyuncs.com'\u200b", HANGZHOU),
        ("//tracing-analysis-dc-hz.aliyuncs.com", HANGZHOU),
        ("grpc://tracing-analysis-dc-hz.aliyuncs.com", HANGZHOU),
        ("http://tracing-cn-heyuan.arms.aliyuncs.com", HEYUAN),
        ("tracing-cn-heyuan-internal.arms.aliyuncs.com", "http://tracing-cn-heyuan-internal.arms.aliyuncs.com:8090"),
        ("tracing-ap-southeast-1.arms.aliyuncs.com", "http://tracing-ap-southeast-1.arms.aliyuncs.com:8090"),
        ("tracing-analysis-dc-usw-internal.aliyuncs.com", "http://tracing-analysis-dc-usw-internal.aliyuncs.com:8090"),
        ("http://tracing-cn-heyuan.arms.aliyun.com", "http://tracing-cn-heyuan.arms.aliyun.com:8090"),
        ("127.0.0.1:4317", "http://127.0.0.1:4317"),
        ("[::1]:4317", "http://[::1]:4317"),
        ("collector", "http://collector:8090"),
    ],
)
def test_arms_takes_what_is_pasted(endpoint: str, expected: str) -> None:
    backend = arms(endpoint)
    assert backend.endpoint == expected
    assert (backend.protocol, backend.insecure) == ("grpc", True)
    assert backend.headers == {"authentication": KEY}
    assert backend.resource_attributes["acs.arms.service.feature"] == "genai_app"
    assert backend.service_name == "shop"


def test_arms_as_variables() -> None:
    assert environment(arms("http://tracing-cn-heyuan.arms.aliyuncs.com", app="my shop")) == {
        "OTEL_SERVICE_NAME": "my shop",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_EXPORTER_OTLP_ENDPOINT": HEYUAN,
        "OTEL_EXPORTER_OTLP_INSECURE": "true",
        "OTEL_EXPORTER_OTLP_HEADERS": f"authentication={KEY}",
        "OTEL_RESOURCE_ATTRIBUTES": "service.namespace=my%20shop,acs.arms.service.feature=genai_app",
    }


@pytest.mark.parametrize(
    "key", [f" {KEY}\n", f'"{KEY}"', f"Authentication: {KEY}", f"authentication={KEY}", f"adapt_{KEY}", f"\u200b{KEY}"]
)
def test_arms_keys_as_pasted(key: str) -> None:
    assert arms("tracing-analysis-dc-hz.aliyuncs.com", key).headers == {"authentication": KEY}


def test_arms_key_out_of_a_pasted_address() -> None:
    pasted = f"http://tracing-analysis-dc-hz.aliyuncs.com/adapt_{KEY}/api/otlp/traces"
    assert arms(pasted, None).headers == {"authentication": KEY}


@pytest.mark.parametrize(
    "endpoint, key, words",
    [
        ("", KEY, "empty"),
        ("   ", KEY, "empty"),
        ("http://", KEY, "no usable host"),
        ("http://a b.aliyuncs.com", KEY, "blank"),
        ("ftp://tracing-analysis-dc-hz.aliyuncs.com", KEY, "http"),
        ("http://h.aliyuncs.com:99999", KEY, "not a URL"),
        ("http://h.aliyuncs.com:80x", KEY, "not a URL"),
        ("http://user:SECRET@h.aliyuncs.com", KEY, "user or password"),
        ("http://h_$(id).aliyuncs.com", KEY, "no usable host"),
        ("tracing-analysis-dc-hz.aliyuncs.com", "", "licence key"),
        ("tracing-analysis-dc-hz.aliyuncs.com", None, "licence key"),
        ("tracing-analysis-dc-hz.aliyuncs.com", "SECRET/with/slash", "'/'"),
        ("tracing-analysis-dc-hz.aliyuncs.com", "http://h/adapt_SECRET/api", "'/'"),
        ("tracing-analysis-dc-hz.aliyuncs.com", "SECRET two", "blank"),
        ("tracing-analysis-dc-hz.aliyuncs.com", "SECRET\nauthority: x", "header"),
        ("tracing-analysis-dc-hz.aliyuncs.com", "SECRETключ", "header"),
        ("http://tracing-analysis-dc-hz.aliyuncs.com/adapt_SECRET1/api/otlp/traces", "SECRET2", "not the licence key"),
    ],
)
def test_arms_refusals_name_no_key(endpoint: str, key: str | None, words: str) -> None:
    with pytest.raises(BackendError) as refused:
        arms(endpoint, key)
    assert words in str(refused.value)
    assert "SECRET" not in str(refused.value)
    # nor does the exception underneath, which a traceback would show
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_remarks() -> None:
    assert arms("http://tracing-cn-heyuan.arms.aliyuncs.com").notes == ()
    assert "plaintext" in arms("https://tracing-cn-heyuan.arms.aliyuncs.com").notes[0]
    assert "aliyun.com" in arms("http://tracing-cn-heyuan.arms.aliyun.com").notes[0]
    assert "not a host name ARMS documents" in arms("otel.example.com").notes[0]
    assert "port 4317 replaced" in arms("tracing-cn-heyuan.arms.aliyuncs.com:4317").notes[0]


CMS = "https://proj-xtrace-1a2b-cn-hangzhou.cn-hangzhou.log.aliyuncs.com"


@pytest.mark.parametrize(
    "endpoint", [CMS, CMS + "/", CMS + ":443", CMS.removeprefix("https://"), CMS + "/apm/trace/opentelemetry"]
)
def test_cms_2_with_a_workspace(endpoint: str) -> None:
    backend = arms(endpoint, workspace="default-cms-1-cn-hangzhou")
    assert backend.protocol == "http/protobuf"
    assert backend.endpoint == CMS + "/apm/trace/opentelemetry"
    assert backend.headers == {
        "x-arms-license-key": KEY,
        "x-arms-project": "proj-xtrace-1a2b-cn-hangzhou",
        "x-cms-workspace": "default-cms-1-cn-hangzhou",
    }
    assert backend.resource_attributes["acs.cms.workspace"] == "default-cms-1-cn-hangzhou"
    assert backend.resource_attributes["acs.arms.service.feature"] == "genai_app"
    assert KEY not in backend.endpoint


def test_cms_2_without_a_workspace_puts_the_key_into_the_path() -> None:
    backend = arms(CMS)
    # The exporter appends /v1/traces: together the address Dify's own provider builds.
    assert backend.endpoint == f"{CMS}/adapt_{KEY}/api"
    assert arms(f"{CMS}/adapt_{KEY}/api/v1/traces", None).endpoint == backend.endpoint
    assert backend.extra_env["OTEL_METRICS_EXPORTER"] == "none"
    with pytest.raises(BackendError, match="workspace"):
        arms(CMS + "/apm/trace/opentelemetry")


@pytest.mark.parametrize(
    "name, endpoint, key, protocol, expected, headers",
    [
        ("jaeger", "jaeger", None, "grpc", "http://jaeger:4317", {}),
        (
            "jaeger",
            "https://jaeger.example.com:4317",
            "t",
            "grpc",
            "https://jaeger.example.com:4317",
            {"authorization": "Bearer t"},
        ),
        ("jaeger", "http://jaeger:4318/v1/traces", None, "http/protobuf", "http://jaeger:4318", {}),
        ("tempo", "tempo:4317", None, "grpc", "http://tempo:4317", {}),
        ("phoenix", "phoenix", None, "http/protobuf", "http://phoenix:6006", {}),
        ("phoenix", "phoenix:4317", "k", "grpc", "http://phoenix:4317", {"authorization": "Bearer k"}),
        (
            "phoenix",
            "https://app.phoenix.arize.com/s/me",
            "k",
            "http/protobuf",
            "https://app.phoenix.arize.com/s/me",
            {"authorization": "Bearer k"},
        ),
        ("otlp", "collector:4317", None, "grpc", "http://collector:4317", {}),
        ("otlp", "collector", None, "grpc", "http://collector:4317", {}),
        (
            "otlp",
            "https://otlp.example.com/otlp/v1/traces",
            "Basic eDp5",
            "http/protobuf",
            "https://otlp.example.com/otlp",
            {"authorization": "Basic eDp5"},
        ),
        ("otlp", "http://collector:4318", None, "http/protobuf", "http://collector:4318", {}),
    ],
)
def test_others(
    name: str, endpoint: str, key: str | None, protocol: str, expected: str, headers: dict[str, str]
) -> None:
    backend = resolve(name, endpoint, key, "shop")
    assert (backend.protocol, backend.endpoint, backend.headers) == (protocol, expected, headers)
    assert backend.insecure is expected.startswith("http://")


def test_tempo_tenant() -> None:
    assert resolve("tempo", "tempo", tenant="team-a").headers == {"x-scope-orgid": "team-a"}


@pytest.mark.parametrize(
    "endpoint",
    ["cloud.langfuse.com", "https://cloud.langfuse.com/", "https://cloud.langfuse.com/api/public/otel/v1/traces"],
)
@pytest.mark.parametrize("encode", [False, True])
def test_langfuse(endpoint: str, encode: bool) -> None:
    pair = "pk-lf-1:sk-lf-2"
    encoded = base64.b64encode(pair.encode()).decode()
    backend = resolve("langfuse", endpoint, encoded if encode else pair)
    assert backend.endpoint == "https://cloud.langfuse.com/api/public/otel"
    assert backend.headers == {"authorization": f"Basic {encoded}"}
    assert backend.extra_env == {"OTEL_METRICS_EXPORTER": "none", "DIFY_OTEL_DIALECTS": "otel,openinference"}


def test_langfuse_wants_both_keys() -> None:
    with pytest.raises(BackendError, match="both keys"):
        resolve("langfuse", "langfuse:3000", "sk-lf-SECRET")
    assert resolve("langfuse", "langfuse:3000", "pk:sk").endpoint == "http://langfuse:3000/api/public/otel"


def test_backends_that_take_no_metrics_get_none() -> None:
    for name in ("jaeger", "tempo", "phoenix"):
        assert environment(resolve(name, "h"))["OTEL_METRICS_EXPORTER"] == "none"
    assert "OTEL_METRICS_EXPORTER" not in environment(resolve("otlp", "h"))
    assert "OTEL_METRICS_EXPORTER" not in environment(arms("tracing-cn-heyuan.arms.aliyuncs.com"))


@pytest.mark.parametrize("name", BACKENDS)
def test_a_repr_shows_no_key(name: str) -> None:
    secret = "pk-SECRET:sk-SECRET" if name == "langfuse" else "SECRETSECRET"
    backend = resolve(name, "host.example.com", secret)
    shown = repr(backend) + str(backend) + f"{backend}" + masked(backend.endpoint)
    assert "SECRET" not in shown
    assert base64.b64encode(b"pk-SECRET:sk-SECRET").decode() not in shown
    assert "SECRET" not in repr(arms(CMS, "SECRET"))
    assert not [n for n in backend.notes if "SECRET" in n]


def test_unknown_backend() -> None:
    with pytest.raises(BackendError, match="unknown backend 'zipkin'"):
        resolve("zipkin", "h")


def test_importing_opens_nothing() -> None:
    """A process imports this before gevent patches: neither ssl nor a thread pool may come with it."""
    root = Path(__file__).parents[2] / "bootstrap"
    code = (
        "import sys; import dify_otel.backends;"
        "print(*{'ssl', 'socket', 'threading', 'concurrent.futures', 'grpc'} & set(sys.modules))"
    )
    ran = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PYTHONPATH": str(root)},
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == ""
