"""The nginx shim, with Debian's real nginx: what it renders, what its maps decide, and Dify served when it fails.

Debian has no ngx_otel_module, so the traced configuration is loaded by a stand-in called nginx that notes what it
gets, and the part of it that is plain nginx (sampling, exclusions, names) is evaluated by the real one.
"""

from __future__ import annotations

import http.client
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

NGINX = Path(__file__).parents[2] / "deploy" / "nginx"
SHIM = NGINX / "bin" / "nginx"


def dify_like(directory: Path, port: int, upstream: int) -> Path:
    """A configuration in the shape Dify's entrypoint leaves: relative include, conf.d, unbuffered proxying."""
    (directory / "conf.d").mkdir(parents=True)
    (directory / "logs").mkdir()
    (directory / "nginx.conf").write_text(
        f"""
worker_processes 1;
error_log {directory}/logs/error.log notice;
pid {directory}/nginx.pid;
events {{ worker_connections 64; }}

http {{
    access_log off;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
    include {directory}/conf.d/*.conf;
}}
"""
    )
    (directory / "proxy.conf").write_text(
        'proxy_set_header Host $host; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;\n'
    )
    (directory / "conf.d" / "default.conf").write_text(
        f"""
server {{
    listen 127.0.0.1:{port};
    location /v1 {{ proxy_pass http://127.0.0.1:{upstream}; include proxy.conf; }}
    location / {{ proxy_pass http://127.0.0.1:{upstream}; include proxy.conf; }}
}}
"""
    )
    return directory / "nginx.conf"


def environment(clean_env: dict[str, str], tmp_path: Path, conf: Path, real: Path | None = None) -> dict[str, str]:
    env = {
        **clean_env,
        "DIFY_OTEL_NGINX_DIR": str(NGINX),
        "DIFY_OTEL_NGINX_CONF": str(conf),
        "DIFY_OTEL_NGINX_RUN": str(tmp_path / "run"),
        "DIFY_OTEL_ENVIRONMENT": "staging",
    }
    if real:
        env["DIFY_OTEL_NGINX_BIN"] = str(real)
    return env


def stand_in(tmp_path: Path) -> Path:
    """A program called nginx that takes every configuration and notes its arguments."""
    path = tmp_path / "stub" / "nginx"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n')
    path.chmod(0o755)
    return path


def shim(env: dict[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SHIM, *args], env=env, check=False, capture_output=True, text=True, timeout=20)


class Upstream(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    go_on = threading.Event()

    def do_GET(self) -> None:
        if self.path.startswith("/v1/stream"):
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.chunk(b"data: first\n\n")
            self.go_on.wait(20)
            self.chunk(b"data: last\n\n")
            self.wfile.write(b"0\r\n\r\n")
            return
        body = (self.headers.get("traceparent") or "none").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def upstream() -> Iterator[int]:
    Upstream.go_on.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    Upstream.go_on.set()
    server.shutdown()
    server.server_close()


@contextmanager
def serving(command: list[str | Path], env: dict[str, str], port: int, log: Path) -> Iterator[None]:
    with log.open("wb") as out:
        process = subprocess.Popen([*command, "-g", "daemon off;"], env=env, stdout=out, stderr=out)
    try:
        end = time.monotonic() + 15
        while True:
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            try:
                get(port, "/ready")
                break
            except OSError:
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(15)


def get(port: int, path: str, method: str = "GET", **headers: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
    try:
        connection.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
        return connection.getresponse().read().decode()
    finally:
        connection.close()


# --- falling back ---------------------------------------------------------------------------------------------------


def test_without_the_module_dify_is_served_untraced_and_unbuffered(
    nginx: Path, tmp_path: Path, upstream: int, free_port: Callable[[], int], clean_env: dict[str, str]
) -> None:
    port = free_port()
    conf = dify_like(tmp_path / "etc", port, upstream)
    before = {p: p.read_bytes() for p in conf.parent.rglob("*.conf")}
    log = tmp_path / "log"
    with serving([SHIM], environment(clean_env, tmp_path, conf, nginx), port, log):
        assert get(port, "/v1/info", traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01").startswith("00-aaaa")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
        connection.request("GET", "/v1/stream")
        answer = connection.getresponse()
        # The upstream sends the rest only after this line: a buffering proxy would never get here.
        assert answer.readline() == b"data: first\n"
        Upstream.go_on.set()
        assert b"data: last" in answer.read()
        connection.close()
    assert "tracing OFF" in log.read_text()
    assert "ngx_otel_module" in log.read_text()
    assert {p: p.read_bytes() for p in conf.parent.rglob("*.conf")} == before


@pytest.mark.parametrize(
    "broken",
    [
        {"DIFY_OTEL_NGINX_CONTEXT": "always"},
        {"DIFY_OTEL_NGINX_RUN": "/proc/no/such"},
        {"DIFY_OTEL_NGINX_DIR": "/no/such/directory"},
    ],
)
def test_anything_wrong_starts_the_plain_configuration(
    tmp_path: Path, clean_env: dict[str, str], broken: dict[str, str]
) -> None:
    conf = dify_like(tmp_path / "etc", 1, 1)
    env = {**environment(clean_env, tmp_path, conf, stand_in(tmp_path)), **broken}
    done = shim(env, "-g", "daemon off;")
    assert done.returncode == 0
    assert "tracing OFF" in done.stderr
    assert (tmp_path / "calls").read_text().splitlines() == [f"-c {conf} -g daemon off;"]


@pytest.mark.parametrize("switch", [{"DIFY_OTEL_NGINX_ENABLED": "false"}, {"DIFY_OTEL_ENABLED": "false"}])
def test_switched_off_renders_nothing(tmp_path: Path, clean_env: dict[str, str], switch: dict[str, str]) -> None:
    conf = dify_like(tmp_path / "etc", 1, 1)
    done = shim({**environment(clean_env, tmp_path, conf, stand_in(tmp_path)), **switch}, "-g", "daemon off;")
    assert done.stderr == ""
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("args", [["-t"], ["-s", "reload"], ["-V"], ["-c", "/else.conf"], ["-T"]])
def test_only_a_plain_start_is_ours(tmp_path: Path, clean_env: dict[str, str], args: list[str]) -> None:
    conf = dify_like(tmp_path / "etc", 1, 1)
    shim(environment(clean_env, tmp_path, conf, stand_in(tmp_path)), *args)
    assert (tmp_path / "calls").read_text().strip() == " ".join(args)
    assert not (tmp_path / "run").exists()


def test_entrypoint_runs_difys_script_with_the_shim_first(tmp_path: Path, clean_env: dict[str, str]) -> None:
    """In a copy whose fixed container paths are moved below tmp_path."""
    here = tmp_path / "opt"
    shutil.copytree(NGINX, here)
    (here / "bin" / "nginx").chmod(0o644)  # as after a checkout that lost the execute bit
    script = (here / "entrypoint.sh").read_text()
    script = script.replace("/opt/dify-otel/nginx", str(here)).replace(
        "/docker-entrypoint", f"{tmp_path}/docker-entrypoint"
    )
    (here / "entrypoint.sh").write_text(script)
    conf = dify_like(tmp_path / "etc", 1, 1)
    (tmp_path / "docker-entrypoint-mount.sh").write_text("#!/bin/bash\r\nexec nginx -g 'daemon off;'\r\n")
    stub = stand_in(tmp_path)
    env = environment(clean_env, tmp_path, conf)
    env["PATH"] = f"{stub.parent}:{env['PATH']}"
    done = subprocess.run(
        ["bash", here / "entrypoint.sh"], env=env, check=False, capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 0, done.stderr
    assert "tracing on" in done.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls == [f"-t -q -c {tmp_path}/run/nginx.conf", f"-c {tmp_path}/run/nginx.conf -g daemon off;"]


# --- what is rendered -----------------------------------------------------------------------------------------------


def rendered(tmp_path: Path, clean_env: dict[str, str], **settings: str) -> tuple[str, str]:
    conf = dify_like(tmp_path / "etc", 1, 1)
    env = {**environment(clean_env, tmp_path, conf, stand_in(tmp_path)), **settings}
    done = shim(env, "-g", "daemon off;")
    assert "tracing on" in done.stderr, done.stderr
    return (tmp_path / "run" / "nginx.conf").read_text(), (tmp_path / "run" / "dify-otel" / "otel.conf").read_text()


def test_the_traced_configuration_is_difys_with_two_lines_more(tmp_path: Path, clean_env: dict[str, str]) -> None:
    main, otel = rendered(tmp_path, clean_env)
    original = (tmp_path / "etc" / "nginx.conf").read_text()
    added = [line for line in main.splitlines() if line not in original.splitlines()]
    assert added == [
        "load_module modules/ngx_otel_module.so;",
        f"    include {tmp_path}/run/dify-otel/otel.conf;",
    ]
    assert (tmp_path / "run" / "proxy.conf").resolve() == (tmp_path / "etc" / "proxy.conf").resolve()
    assert "${" not in otel
    assert "endpoint otel-collector:4317;" in otel
    assert "otel_resource_attr deployment.environment.name staging;" in otel
    assert "otel_trace_context propagate;" in otel
    assert "100% on;" in otel


def test_no_attribute_of_ours_repeats_one_of_the_modules(tmp_path: Path, clean_env: dict[str, str]) -> None:
    """The module records these itself; the same key twice in a span makes backends keep either."""
    modules = {"http.method", "http.target", "http.route", "http.scheme", "http.flavor", "http.user_agent"}
    modules |= {"http.status_code", "http.request_content_length", "http.response_content_length"}
    modules |= {"net.host.name", "net.host.port", "net.sock.peer.addr", "net.sock.peer.port"}
    _, otel = rendered(tmp_path, clean_env)
    ours = re.findall(r"^otel_span_attr (\S+)", otel, flags=re.MULTILINE)
    assert ours and not modules & set(ours)


def test_settings_reach_the_configuration(tmp_path: Path, clean_env: dict[str, str]) -> None:
    _, otel = rendered(
        tmp_path,
        clean_env,
        DIFY_OTEL_NGINX_CONTEXT="inject",
        DIFY_OTEL_NGINX_SAMPLE="0%",
        DIFY_OTEL_NGINX_ENDPOINT="https://h:1",
        DIFY_OTEL_NGINX_EXPORTER_EXTRA="header authentication a&b\\1;",
    )
    assert "otel_trace_context inject;" in otel
    assert "endpoint https://h:1;" in otel
    assert "header authentication a&b\\1;" in otel
    assert "0% on" not in otel
    assert "    * off;" in otel


# --- what the maps decide, by the real nginx ------------------------------------------------------------------------


@pytest.fixture
def decide(
    nginx: Path, tmp_path: Path, free_port: Callable[[], int], clean_env: dict[str, str]
) -> Iterator[Callable[..., tuple[str, str]]]:
    """Asks the real nginx for (on|off, span name), with the module's variables coming from request headers."""
    _, otel = rendered(tmp_path, clean_env, DIFY_OTEL_NGINX_SAMPLE="50%")
    plain = re.sub(r"otel_exporter \{.*?\}\n", "", otel, flags=re.DOTALL)
    name = re.search(r"^otel_span_name (.*);$", plain, flags=re.MULTILINE)
    assert name
    plain = re.sub(r"^otel_.*;$", "", plain, flags=re.MULTILINE)
    variables = "".join(
        f"map $http_x_{v} $otel_{v} {{ default $http_x_{v}; }}\n" for v in ("trace_id", "parent_id", "parent_sampled")
    )
    port = free_port()
    conf = dify_like(tmp_path / "real", port, 1)
    (conf.parent / "conf.d" / "default.conf").write_text(
        f"{variables}{plain}\nserver {{ listen 127.0.0.1:{port}; location / {{ return 200 '$dify_otel_on ${{name}}'; }}"
        f" set $name {name.group(1)}; }}\n"
    )

    def ask(path: str, method: str = "GET", **headers: str) -> tuple[str, str]:
        on, span_name = get(port, path, method, **headers).split(" ", 1)
        return on, span_name

    with serving([nginx, "-c", conf], clean_env, port, tmp_path / "log"):
        yield ask


SAMPLED = {"x_parent_id": "b" * 16, "x_parent_sampled": "1"}


@pytest.mark.parametrize("caller, expected", [("1", "on"), ("0", "off")])
def test_a_callers_decision_stands(decide: Callable[..., tuple[str, str]], caller: str, expected: str) -> None:
    assert decide("/v1/chat-messages", "POST", x_parent_id="b" * 16, x_parent_sampled=caller)[0] == expected


def test_without_a_caller_a_share_is_sampled(decide: Callable[..., tuple[str, str]]) -> None:
    on = sum(decide("/v1/chat-messages", x_trace_id=f"{n * 7919:032x}")[0] == "on" for n in range(200))
    assert 60 < on < 140


@pytest.mark.parametrize(
    "path, expected",
    [
        ("/v1/chat-messages", "on"),
        ("/console/api/apps", "on"),
        ("/files/5f/file-preview.png", "on"),
        ("/files/5f/file-preview?sign=x", "on"),
        ("/mcp/server/abc/mcp", "on"),
        ("/triggers/webhook/1.js", "on"),
        ("/e/hook/run", "on"),
        ("/apps", "on"),
        ("/explore/apps", "on"),
        ("/health", "off"),
        ("/e/health", "off"),
        ("/_next/static/chunks/main.js", "off"),
        ("/_next/data/x.json", "off"),
        ("/logo/logo-site.png", "off"),
        ("/favicon.ico", "off"),
        ("/site.WEBMANIFEST", "off"),
        ("/embed.min.js", "off"),
        ("/.well-known/acme-challenge/x", "off"),
        ("/socket.io/?EIO=4&transport=polling", "off"),
    ],
)
def test_what_makes_a_span(decide: Callable[..., tuple[str, str]], path: str, expected: str) -> None:
    assert decide(path, **SAMPLED)[0] == expected


def test_a_websocket_makes_no_span(decide: Callable[..., tuple[str, str]]) -> None:
    assert decide("/v1/anything", upgrade="websocket", connection="Upgrade", **SAMPLED)[0] == "off"
    assert decide("/v1/anything", upgrade="h2c", connection="Upgrade", **SAMPLED)[0] == "on"


@pytest.mark.parametrize(
    "method, path, name",
    [
        ("POST", "/v1/chat-messages", "POST /v1/chat-messages"),
        ("POST", "/v1/workflows/run", "POST /v1/workflows"),
        ("GET", "/v1/datasets/0b6/documents/77", "GET /v1/datasets"),
        ("GET", "/console/api/apps/0b6e/workflows/draft", "GET /console/api/apps"),
        ("GET", "/console/api/wp-admin", "GET /console/api/{other}"),
        ("GET", "/v1/.env", "GET /v1/{other}"),
        ("POST", "/api/chat-messages", "POST /api/chat-messages"),
        ("GET", "/files/5f/file-preview?sign=abc", "GET /files/{id}"),
        ("POST", "/e/abcd/webhook", "POST /e/{hook}"),
        ("GET", "/", "GET /"),
        ("GET", "/app/0b6/overview", "GET /app"),
        ("GET", "/wp-login.php", "GET /{page}"),
        ("PROPFIND", "/random/thing", "_OTHER /{page}"),
    ],
)
def test_span_names_are_few(decide: Callable[..., tuple[str, str]], method: str, path: str, name: str) -> None:
    assert decide(path, method, **SAMPLED)[1] == name
