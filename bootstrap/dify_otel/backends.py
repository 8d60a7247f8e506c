"""Where telemetry goes: a backend's name, endpoint and key as a person has them, turned into OTLP settings.

Separate because two sides need exactly the same reading: the process that exports (imported early there: standard
library only, nothing that opens sockets) and `dify-otel env`, which prints it. No key appears in a repr or an error.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, quote, urlsplit

GRPC: Final = "grpc"
HTTP: Final = "http/protobuf"
ARMS_PORT: Final = 8090

_QUOTES_AND_BLANKS: Final = " \t\r\n\"'`<>\u200b\u200e\ufeff\u00a0\u3000"
_KEY_IN_PATH: Final = re.compile(r"(?:^|/)adapt_([^/?#]+)")
_ARMS_HOST: Final = re.compile(
    r"^(tracing-analysis-dc-[a-z0-9]+(-internal)?\.aliyuncs\.com|tracing-[a-z]+-[a-z0-9-]+?(-internal)?\.arms\.aliyuncs\.com)$"
)
_LOCAL_HOST: Final = re.compile(r"^(localhost|127\.|10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|[^.]+$)")


class BackendError(ValueError):
    """The endpoint or key cannot be used; the text says why and never contains a key."""


@dataclass(frozen=True, repr=False)
class Backend:
    """OTLP settings of one backend.

    `endpoint` is the base URL for all signals (with OTLP/HTTP the exporter appends `/v1/traces`); it may carry the key
    in its path (CMS 2.0 without a workspace). `headers` are lower case, as gRPC demands. `notes` are remarks for a
    person. `exporter` names the file of deploy/collector/exporters (empty: none fits), `collector_env` its variables.
    """

    name: str
    protocol: str
    endpoint: str
    insecure: bool
    headers: Mapping[str, str] = field(default_factory=dict)
    resource_attributes: Mapping[str, str] = field(default_factory=dict)
    extra_env: Mapping[str, str] = field(default_factory=dict)
    service_name: str | None = None
    notes: tuple[str, ...] = ()
    exporter: str = ""
    collector_env: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        headers = ", ".join(f"{name}: ***" for name in self.headers)
        return f"Backend({self.name}, {self.protocol}, {masked(self.endpoint)}, headers=[{headers}])"


def masked(text: str) -> str:
    """`text` with a key inside an `adapt_<key>` path, or a user and password, replaced by stars."""
    return re.sub(r"//[^/@]*@", "//***@", re.sub(r"adapt_[^/?#\s]+", "adapt_***", text))


def resolve(
    name: str,
    endpoint: str,
    key: str | None = None,
    app_name: str | None = None,
    *,
    workspace: str | None = None,
    tenant: str | None = None,
    key_reference: str | None = None,
) -> Backend:
    """Settings for the backend `name` (one of `BACKENDS`).

    `endpoint` and `key` are what the backend's console shows; blanks, quotes, missing schemes, pasted ports and paths
    are taken. `app_name` becomes service.name. `workspace` is of CMS 2.0, `tenant` of Tempo. `key_reference` stands in
    place of the key (such as `${NAME}`) when the key itself must not appear; it is not looked at.
    Raises `BackendError`.
    """
    build = _BUILDERS.get(name)
    if build is None:
        raise BackendError(f"unknown backend {name!r}; there are {', '.join(BACKENDS)}")
    app = _app_name(app_name)
    secret = key_reference if key_reference is not None else _key(key)
    request = _Request(endpoint, secret, key_reference is not None, app, _plain(workspace), _plain(tenant))
    return build(request)


def environment(backend: Backend) -> dict[str, str]:
    """The `OTEL_*` variables (and ours) that make one process export straight to `backend`. Contains the key."""
    env: dict[str, str] = {}
    if backend.service_name:
        env["OTEL_SERVICE_NAME"] = backend.service_name
    env["OTEL_EXPORTER_OTLP_PROTOCOL"] = backend.protocol
    env["OTEL_EXPORTER_OTLP_ENDPOINT"] = backend.endpoint
    if backend.protocol == GRPC:
        env["OTEL_EXPORTER_OTLP_INSECURE"] = "true" if backend.insecure else "false"
    if backend.headers:
        env["OTEL_EXPORTER_OTLP_HEADERS"] = ",".join(f"{k}={encoded(v)}" for k, v in backend.headers.items())
    if backend.resource_attributes:
        env["OTEL_RESOURCE_ATTRIBUTES"] = ",".join(f"{k}={encoded(v)}" for k, v in backend.resource_attributes.items())
    env.update(backend.extra_env)
    return env


def encoded(value: str) -> str:
    """Percent-encoded as OTEL_EXPORTER_OTLP_HEADERS and OTEL_RESOURCE_ATTRIBUTES want it; references stay readable."""
    return quote(value, safe="@:_-.~/${}()")


@dataclass(frozen=True, repr=False)
class _Request:
    endpoint: str
    key: str | None
    is_reference: bool
    app: str | None
    workspace: str | None
    tenant: str | None


def _arms(request: _Request) -> Backend:
    url = _split(request.endpoint, default_scheme="")
    host = url.hostname or ""
    key, notes = _arms_key(request, url), []
    attributes = {"acs.arms.service.feature": "genai_app"}
    if host.endswith(".log.aliyuncs.com"):
        return _arms_cms(request, url, host, key, attributes)
    port = url.port
    if _ARMS_HOST.match(host):
        if port not in (None, 80, 443, ARMS_PORT):
            notes.append(f"port {port} replaced by {ARMS_PORT}, the gRPC port of ARMS")
        port = ARMS_PORT
    else:
        if host.endswith((".arms.aliyun.com", ".aliyun.com")):
            notes.append("the hosts of ARMS end in aliyuncs.com, this one in aliyun.com: compare with the console")
        elif not _LOCAL_HOST.match(host):
            notes.append(f"{host} is not a host name ARMS documents; used as it is")
        port = ARMS_PORT if port in (None, 80, 443) else port
    if url.scheme == "https":
        notes.append(
            f"https became http: port {ARMS_PORT} of ARMS speaks plaintext gRPC (prefer the internal endpoint)"
        )
    return Backend(
        name="arms",
        protocol=GRPC,
        endpoint=f"http://{_host(host)}:{port}",
        insecure=True,
        headers={"authentication": key},
        resource_attributes=_with_namespace(attributes, request.app),
        service_name=request.app,
        notes=tuple(notes),
        exporter="arms",
        collector_env={"DIFY_OTEL_BACKEND_ENDPOINT": f"{_host(host)}:{port}", "DIFY_OTEL_BACKEND_TOKEN": key},
    )


def _arms_cms(request: _Request, url: SplitResult, host: str, key: str, attributes: dict[str, str]) -> Backend:
    scheme = url.scheme or "https"
    base = f"{scheme}://{host}" + (f":{url.port}" if url.port not in (None, 80, 443, ARMS_PORT) else "")
    # Only traces have a documented path here.
    extra = {"OTEL_METRICS_EXPORTER": "none"}
    notes: tuple[str, ...] = ()
    if request.workspace:
        attributes["acs.cms.workspace"] = request.workspace
        project = host.split(".", 1)[0]
        headers = {"x-arms-license-key": key, "x-arms-project": project, "x-cms-workspace": request.workspace}
        collector = {
            "DIFY_OTEL_BACKEND_ENDPOINT": base.removeprefix(f"{scheme}://"),
            "DIFY_OTEL_BACKEND_TOKEN": key,
            "DIFY_OTEL_CMS_PROJECT": project,
            "DIFY_OTEL_CMS_WORKSPACE": request.workspace,
        }
        endpoint, exporter = f"{base}/apm/trace/opentelemetry", "arms-cms"
    else:
        if "/apm/trace/" in url.path:
            raise BackendError("this CMS 2.0 address needs the name of the workspace (--workspace)")
        headers, collector, exporter = {}, {}, ""
        endpoint = f"{base}/adapt_{key}/api"
        notes = ("the licence key is part of the URL; with --workspace it goes into a header",)
    return Backend(
        name="arms",
        protocol=HTTP,
        endpoint=endpoint,
        insecure=scheme == "http",
        headers=headers,
        resource_attributes=_with_namespace(attributes, request.app),
        extra_env=extra,
        service_name=request.app,
        notes=notes,
        exporter=exporter,
        collector_env=collector,
    )


def _arms_key(request: _Request, url: SplitResult) -> str:
    in_path = _KEY_IN_PATH.search(url.path)
    key = request.key
    if in_path and not request.is_reference:
        if key is not None and key != in_path.group(1):
            raise BackendError("the endpoint carries a licence key in its path and it is not the licence key given")
        key = _key(in_path.group(1))
    if key is None:
        raise BackendError("ARMS needs the licence key its console shows (DIFY_OTEL_ARMS_LICENSE_KEY or --license-key)")
    if not request.is_reference and re.search(r"[/\s]", key):
        raise BackendError("the licence key contains a '/' or a blank: that is a path or an address, not a key")
    return key


def _jaeger(request: _Request) -> Backend:
    return _traces_over_grpc("jaeger", request, {})


def _tempo(request: _Request) -> Backend:
    headers = {"x-scope-orgid": request.tenant} if request.tenant else {}
    return _traces_over_grpc("tempo", request, headers)


def _traces_over_grpc(name: str, request: _Request, headers: dict[str, str]) -> Backend:
    url = _split(request.endpoint)
    host, port, insecure = url.hostname or "", url.port or 4317, url.scheme != "https"
    if port == 4318:
        return _traces_over_http(name, request, headers)
    if request.key:
        headers["authorization"] = _bearer(request.key)
    return Backend(
        name=name,
        protocol=GRPC,
        endpoint=f"{'http' if insecure else 'https'}://{_host(host)}:{port}",
        insecure=insecure,
        headers=headers,
        resource_attributes=_with_namespace({}, request.app),
        extra_env={"OTEL_METRICS_EXPORTER": "none"},
        service_name=request.app,
        notes=_plaintext_key(insecure, host, request.key),
        # A key needs the file with an authorization header.
        exporter="otlp" if request.key else name,
        collector_env=_collector(
            f"{_host(host)}:{port}", headers.get("authorization"), insecure, {"DIFY_OTEL_TENANT": request.tenant or ""}
        ),
    )


def _traces_over_http(name: str, request: _Request, headers: dict[str, str]) -> Backend:
    url = _split(request.endpoint)
    insecure = url.scheme != "https"
    if request.key:
        headers["authorization"] = _bearer(request.key)
    base = _base(url, strip=r"/v1/(traces|metrics|logs)$")
    return Backend(
        name=name,
        protocol=HTTP,
        endpoint=base,
        insecure=insecure,
        headers=headers,
        resource_attributes=_with_namespace({}, request.app),
        extra_env={"OTEL_METRICS_EXPORTER": "none"},
        service_name=request.app,
        notes=_plaintext_key(insecure, url.hostname or "", request.key),
        exporter="otlp-http",
        collector_env=_collector(base, headers.get("authorization"), None),
    )


def _langfuse(request: _Request) -> Backend:
    raw = request.endpoint.strip(_QUOTES_AND_BLANKS)
    url = _split(raw, default_scheme="http" if _LOCAL_HOST.match(raw) else "https")
    if not request.key:
        raise BackendError("Langfuse needs its two keys as public:secret (pk-lf-…:sk-lf-…), or their base64")
    token = request.key if request.is_reference else _basic(request.key)
    base = _base(url, strip=r"/api/public/otel(/v1/traces)?$")
    return Backend(
        name="langfuse",
        protocol=HTTP,
        endpoint=f"{base}/api/public/otel",
        insecure=url.scheme != "https",
        headers={"authorization": f"Basic {token}"},
        resource_attributes=_with_namespace({}, request.app),
        extra_env={"OTEL_METRICS_EXPORTER": "none", "DIFY_OTEL_DIALECTS": "otel,openinference"},
        service_name=request.app,
        notes=_plaintext_key(url.scheme != "https", url.hostname or "", token)
        + (("the referenced value must be the base64 of public:secret",) if request.is_reference else ()),
        exporter="langfuse",
        collector_env={
            "DIFY_OTEL_BACKEND_ENDPOINT": base,
            "DIFY_OTEL_BACKEND_TOKEN": token,
            "DIFY_OTEL_DIALECTS": "otel,openinference",
        },
    )


def _phoenix(request: _Request) -> Backend:
    url = _split(request.endpoint)
    insecure, host, port = url.scheme != "https", url.hostname or "", url.port
    headers = {"authorization": _bearer(request.key)} if request.key else {}
    dialects = {"DIFY_OTEL_DIALECTS": "otel,openinference"}
    if port == 4317:
        protocol, endpoint = GRPC, f"{url.scheme}://{_host(host)}:4317"
        exporter = "otlp"
        collector = _collector(f"{_host(host)}:4317", headers.get("authorization"), insecure, dialects)
    else:
        protocol, endpoint = HTTP, _base(url, strip=r"/v1/traces$")
        if port is None and insecure:
            endpoint = f"http://{_host(host)}:6006"
        exporter = "phoenix"
        collector = {"DIFY_OTEL_BACKEND_ENDPOINT": endpoint, "DIFY_OTEL_BACKEND_TOKEN": request.key or "", **dialects}
    return Backend(
        name="phoenix",
        protocol=protocol,
        endpoint=endpoint,
        insecure=insecure,
        headers=headers,
        resource_attributes=_with_namespace({}, request.app),
        extra_env={"OTEL_METRICS_EXPORTER": "none", **dialects},
        service_name=request.app,
        notes=_plaintext_key(insecure, host, request.key),
        exporter=exporter,
        collector_env=collector,
    )


def _otlp(request: _Request) -> Backend:
    url = _split(request.endpoint)
    insecure, host = url.scheme != "https", url.hostname or ""
    headers = {"authorization": _bearer(request.key)} if request.key else {}
    over_http = url.port in (4318, 443) or url.path.strip("/") != ""
    if over_http:
        protocol, endpoint = HTTP, _base(url, strip=r"/v1/(traces|metrics|logs)$")
        exporter, collector = "otlp-http", _collector(endpoint, headers.get("authorization"), None)
    else:
        port = url.port or 4317
        protocol, endpoint = GRPC, f"{url.scheme}://{_host(host)}:{port}"
        exporter, collector = "otlp", _collector(f"{_host(host)}:{port}", headers.get("authorization"), insecure)
    return Backend(
        name="otlp",
        protocol=protocol,
        endpoint=endpoint,
        insecure=insecure,
        headers=headers,
        resource_attributes=_with_namespace({}, request.app),
        service_name=request.app,
        notes=_plaintext_key(insecure, host, request.key),
        exporter=exporter,
        collector_env=collector,
    )


_BUILDERS: Final[Mapping[str, Callable[[_Request], Backend]]] = {
    "arms": _arms,
    "jaeger": _jaeger,
    "tempo": _tempo,
    "langfuse": _langfuse,
    "phoenix": _phoenix,
    "otlp": _otlp,
}
BACKENDS: Final = tuple(_BUILDERS)


def _split(endpoint: str, default_scheme: str = "http") -> SplitResult:
    """`endpoint` as a URL with a host; scheme http, https or, with `default_scheme=""` and none given, empty."""
    text = endpoint.strip(_QUOTES_AND_BLANKS)
    if not text:
        raise BackendError("the endpoint is empty")
    if re.search(r"\s", text):
        raise BackendError("the endpoint contains a blank")
    if "://" not in text:
        text = f"{default_scheme}://{text.lstrip('/')}" if default_scheme else f"//{text.lstrip('/')}"
    try:
        url = urlsplit(text)
        port_is_sound, host, user = url.port is None or 0 < url.port < 65536, url.hostname, url.username
    except ValueError:
        raise BackendError("the endpoint is not a URL or host name (look at its port and brackets)") from None
    if url.scheme in ("grpc", "grpcs"):
        url = url._replace(scheme="https" if url.scheme == "grpcs" else "http")
    if url.scheme not in ("http", "https", ""):
        raise BackendError("the endpoint must start with http:// or https://, or with the host name")
    if user is not None:
        raise BackendError("the endpoint must not contain a user or password")
    if not host or not port_is_sound or not re.fullmatch(r"[A-Za-z0-9._-]+|[0-9a-fA-F:.]+", host):
        raise BackendError("the endpoint has no usable host name")
    return url


def _base(url: SplitResult, strip: str) -> str:
    path = re.sub(strip, "", url.path.rstrip("/")).rstrip("/")
    port = f":{url.port}" if url.port else ""
    return f"{url.scheme}://{_host(url.hostname or '')}{port}{path}"


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _key(key: str | None) -> str | None:
    text = (key or "").strip(_QUOTES_AND_BLANKS)
    text = re.sub(r"^(?:authentication\s*[:=]\s*|adapt_)", "", text, flags=re.IGNORECASE)
    if not text:
        return None
    if not text.isascii() or not text.isprintable():
        raise BackendError("the key contains a character that cannot stand in a header")
    if re.search(r"\s", text) and not re.match(r"(?i)(basic|bearer|token) \S+$", text):
        raise BackendError("the key contains a blank")
    return text


def _app_name(name: str | None) -> str | None:
    text = _plain(name)
    if text and not text.isprintable():
        raise BackendError("the app name contains a control character")
    return text


def _plain(text: str | None) -> str | None:
    return (text or "").strip(_QUOTES_AND_BLANKS) or None


def _bearer(key: str) -> str:
    return key if re.match(r"(?i)(basic|bearer|token) ", key) else f"Bearer {key}"


def _is_base64(text: str) -> bool:
    try:
        return b":" in base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False


def _basic(key: str) -> str:
    bare = re.sub(r"(?i)^basic ", "", key)
    if ":" in bare:
        return base64.b64encode(bare.encode()).decode()
    if _is_base64(bare):
        return bare
    raise BackendError("Langfuse needs both keys as public:secret (pk-lf-…:sk-lf-…), or their base64")


def _with_namespace(attributes: dict[str, str], app: str | None) -> dict[str, str]:
    return {"service.namespace": app, **attributes} if app else attributes


def _collector(
    endpoint: str, token: str | None, insecure: bool | None, more: Mapping[str, str] | None = None
) -> dict[str, str]:
    env = {"DIFY_OTEL_BACKEND_ENDPOINT": endpoint}
    if token:
        env["DIFY_OTEL_BACKEND_TOKEN"] = token
    if insecure is not None:
        env["DIFY_OTEL_BACKEND_INSECURE"] = "true" if insecure else "false"
    env.update({k: v for k, v in (more or {}).items() if v})
    return env


def _plaintext_key(insecure: bool, host: str, key: str | None) -> tuple[str, ...]:
    if insecure and key and not _LOCAL_HOST.match(host):
        return ("the key travels unencrypted: the endpoint is http",)
    return ()
