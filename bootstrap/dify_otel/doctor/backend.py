"""Where this configuration exports to, read as the SDK's exporters read it, and whether a request gets through.

Separate from `probe`, which knows no settings: that runs under Dify's interpreter, this under the doctor's.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from urllib.parse import unquote

from dify_otel import backends
from dify_otel.doctor import probe
from dify_otel.doctor.probe import Answer, Target
from dify_otel.doctor.surroundings import quiet
from dify_otel.settings import Settings

_TRUE = ("true", "1", "yes", "on")


def effective(environ: Mapping[str, str], settings: Settings) -> tuple[dict[str, str], str]:
    """The environment the exporters will see (empty means unset, ARMS settings win), and what was wrong with it."""
    values = {name: value for name, value in environ.items() if value.strip() or not name.startswith("OTEL_")}
    if not settings.arms_endpoint:
        return values, ""
    try:
        values |= backends.environment(
            backends.resolve("arms", settings.arms_endpoint, settings.arms_license_key, settings.arms_app_name or None)
        )
    except backends.BackendError as error:
        return values, str(error)
    return values, ""


def own_target(environ: Mapping[str, str], settings: Settings, timeout: float) -> Target | None:
    """Where our own exporter sends traces; None when traces are off or printed."""
    if settings.traces_exporter != "otlp":
        return None
    protocol = _first(environ, "PROTOCOL") or settings.protocol
    protocol = protocol if protocol in ("grpc", "http/protobuf") else settings.protocol
    own = environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "").strip()
    base = environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip()
    if protocol == "grpc":
        url = own or base or "http://localhost:4317"
        scheme = url.partition("://")[0] if "://" in url else ""
        insecure = _first(environ, "INSECURE").lower()
        secure = scheme == "https" or (insecure not in _TRUE if insecure else scheme != "http")
    else:
        url = own or (base or "http://localhost:4318").rstrip("/") + "/v1/traces"
        secure = url.startswith("https://")
    return Target(
        protocol,
        url,
        secure,
        headers(_first(environ, "HEADERS")),
        _first(environ, "CERTIFICATE") or None,
        _first(environ, "CLIENT_CERTIFICATE") or None,
        _first(environ, "CLIENT_KEY") or None,
        timeout,
    )


def native_target(environ: Mapping[str, str], timeout: float) -> Target | None:
    """Where Dify's own exporter sends traces when `ENABLE_OTEL` is on; None when it prints them."""
    if (environ.get("OTEL_EXPORTER_TYPE") or "otlp") != "otlp":
        return None
    key = environ.get("OTLP_API_KEY", "")
    sent = {"authorization": f"Bearer {key}"} if key else {}
    base = environ.get("OTLP_BASE_ENDPOINT") or "http://localhost:4318"
    if environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "").lower() == "grpc":
        return Target("grpc", base, base.startswith("https://"), sent, timeout=timeout)
    url = environ.get("OTLP_TRACE_ENDPOINT") or f"{base}/v1/traces"
    return Target("http/protobuf", url, url.startswith("https://"), sent, timeout=timeout)


def _first(environ: Mapping[str, str], name: str) -> str:
    specific = environ.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}", "").strip()
    return specific or environ.get(f"OTEL_EXPORTER_OTLP_{name}", "").strip()


def headers(text: str) -> dict[str, str]:
    """`name=value,name=value` with URL-encoded parts, as the specification says."""
    found = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if equals and name.strip():
            found[unquote(name.strip()).lower()] = unquote(value.strip())
    return found


def shown(target: Target) -> str:
    """The target for a person, without secrets."""
    names = f", headers {', '.join(target.headers)}" if target.headers else ""
    secure = "TLS" if target.secure else "plain text"
    return f"{backends.masked(target.url)} over {target.protocol}, {secure}{names}"


def ask(target: Target, python: str, environ: Mapping[str, str]) -> Answer:
    """One request, from Dify's interpreter where that is another one. Never raises."""
    if python == sys.executable and target.protocol != "grpc":
        return probe.send(target)
    patience = target.timeout * 4 + 10
    try:
        ran = subprocess.run(
            [python, str(Path(probe.__file__))],
            input=json.dumps(asdict(target)),
            env=quiet(environ),
            capture_output=True,
            text=True,
            timeout=patience,
            check=False,
        )
        return Answer(**json.loads(ran.stdout))
    except subprocess.TimeoutExpired:
        return Answer(probe.FAILED, "timeout", f"no result within {patience:g} s", "Try again, or with --no-network.")
    except (OSError, ValueError, TypeError):
        return probe.send(target)
