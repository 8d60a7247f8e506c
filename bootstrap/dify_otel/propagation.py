"""Which hosts may learn our trace ids, and whose trace context we believe.

A trace context given to a stranger tells him that and how we trace, and lets him write into our traces. So outgoing
headers go to the hosts of Dify's own cluster only: plugin daemon, sandbox, agent backend, Dify itself. Model providers
and the URLs of HTTP nodes get none, unless named.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

CLUSTER_VARIABLES = (
    "PLUGIN_DAEMON_URL",
    "PLUGIN_DIFY_INNER_API_URL",
    "CODE_EXECUTION_ENDPOINT",
    "AGENT_BACKEND_BASE_URL",
    "AGENT_BACKEND_URL",
    "INTERNAL_FILES_URL",
)
"""Dify's own variables that name a service of the cluster."""


def host_of(url: str) -> str:
    """A URL's `host:port` with the scheme's port filled in; empty when it is none."""
    try:
        parts = urlsplit(url)
        if not parts.hostname:
            return ""
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
        return f"{parts.hostname}:{port}"
    except ValueError:
        return ""


class Trusted:
    """The hosts that trace headers may go to. `everyone` lifts the rule."""

    def __init__(self, environ: Mapping[str, str], more: tuple[str, ...] = ()) -> None:
        self.everyone = "all" in more
        self._hosts = {host_of(environ.get(name, "")) for name in CLUSTER_VARIABLES} - {""}
        self._names = {name for name in more if name not in ("all", "cluster")}

    def __contains__(self, url: object) -> bool:
        if self.everyone:
            return True
        host = host_of(url) if isinstance(url, str) else ""
        return host in self._hosts or host in self._names or host.rsplit(":", 1)[0] in self._names


def hook() -> None:
    """Keep Dify's own header for user-given URLs (1.11.3 and later) from carrying our ids: httpx's spans decide."""
    from dify_otel_instrumentors.core import hooks

    hooks.after_import("core.helper.ssrf_proxy", _silence)


def _silence(module: ModuleType) -> None:
    original: Any = getattr(module, "_inject_trace_headers", None)
    if original is None:
        return
    import functools

    @functools.wraps(original)
    def inject_trace_headers(headers: Any = None, *args: Any, **kwargs: Any) -> Any:
        try:
            from dify_otel_instrumentors.core import context

            ours = context.current() is not None
        except Exception:
            ours = True  # rather no header than one for a stranger
        if not ours:
            return original(headers, *args, **kwargs)
        return {} if headers is None else headers

    module._inject_trace_headers = inject_trace_headers  # type: ignore[attr-defined]
