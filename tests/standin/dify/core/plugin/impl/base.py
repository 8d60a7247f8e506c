"""HTTP to the plugin daemon: one pooled client, plain requests and streams of `data:` lines."""

import json
import logging
from collections.abc import Callable, Generator
from typing import Any, TypeVar

import httpx
from graphon.model_runtime.errors.invoke import (
    InvokeAuthorizationError,
    InvokeBadRequestError,
    InvokeConnectionError,
    InvokeRateLimitError,
    InvokeServerUnavailableError,
)

from configs import dify_config
from core.plugin.entities.plugin_daemon import PluginDaemonBasicResponse, PluginDaemonError
from core.plugin.impl.exc import PluginDaemonInnerError, PluginInvokeError

logger = logging.getLogger(__name__)
T = TypeVar("T")

plugin_daemon_request_timeout = httpx.Timeout(dify_config.PLUGIN_DAEMON_TIMEOUT)
_httpx_client = httpx.Client(limits=httpx.Limits(max_keepalive_connections=50, max_connections=100), trust_env=False)
_INVOKE_ERRORS: dict[str, Callable[[str], Exception]] = {
    error.__name__: error
    for error in (
        InvokeRateLimitError,
        InvokeAuthorizationError,
        InvokeBadRequestError,
        InvokeConnectionError,
        InvokeServerUnavailableError,
    )
}


class BasePluginClient:
    def _request(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        data: bytes | dict[str, Any] | str | None = None,
        params: dict[str, Any] | None = None,
        files: dict[str, Any] | None = None,
    ) -> httpx.Response:
        url, headers, content, params, files = self._prepare_request(path, headers, data, params, files)
        try:
            return _httpx_client.request(
                method,
                url,
                headers=headers,
                content=content,
                params=params,
                files=files,
                timeout=plugin_daemon_request_timeout,
            )
        except httpx.RequestError as exc:
            raise PluginDaemonInnerError(code=-500, message="Request to Plugin Daemon Service failed") from exc

    def _prepare_request(
        self,
        path: str,
        headers: dict[str, str] | None,
        data: bytes | dict[str, Any] | str | None,
        params: dict[str, Any] | None,
        files: dict[str, Any] | None,
    ) -> tuple[str, dict[str, str], Any, dict[str, Any] | None, dict[str, Any] | None]:
        prepared = {**(headers or {}), "X-Api-Key": dify_config.PLUGIN_DAEMON_KEY}
        prepared.setdefault("Accept-Encoding", "gzip, deflate, br")
        self._inject_trace_headers(prepared)
        content = json.dumps(data, default=str) if isinstance(data, dict) else data
        return f"{dify_config.PLUGIN_DAEMON_URL}/{path}", prepared, content, params, files

    def _inject_trace_headers(self, headers: dict[str, str]) -> None:
        if not dify_config.ENABLE_OTEL or any(name.lower() == "traceparent" for name in headers):
            return
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        TraceContextTextMapPropagator().inject(headers)

    def _stream_request(
        self,
        method: str,
        path: str,
        params: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        data: bytes | dict[str, Any] | None = None,
        files: dict[str, Any] | None = None,
    ) -> Generator[str, None, None]:
        url, headers, content, params, files = self._prepare_request(path, headers, data, params, files)
        try:
            with _httpx_client.stream(
                method,
                url,
                headers=headers,
                content=content,
                params=params,
                files=files,
                timeout=plugin_daemon_request_timeout,
            ) as response:
                for line in response.iter_lines():
                    payload = line.strip().removeprefix("data:").strip()
                    if payload:
                        yield payload
        except httpx.RequestError as exc:
            raise PluginDaemonInnerError(code=-500, message="Request to Plugin Daemon Service failed") from exc

    def _request_with_plugin_daemon_response(
        self,
        method: str,
        path: str,
        type_: type[T],
        headers: dict[str, str] | None = None,
        data: bytes | dict[str, Any] | None = None,
        params: dict[str, Any] | None = None,
        files: dict[str, Any] | None = None,
        transformer: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    ) -> T:
        response = self._request(method, path, headers, data, params, files)
        response.raise_for_status()
        body = response.json()
        return self._checked(type_, json.dumps(transformer(body) if transformer else body))

    def _request_with_plugin_daemon_response_stream(
        self,
        method: str,
        path: str,
        type_: type[T],
        headers: dict[str, str] | None = None,
        data: bytes | dict[str, Any] | None = None,
        params: dict[str, Any] | None = None,
        files: dict[str, Any] | None = None,
    ) -> Generator[T, None, None]:
        for line in self._stream_request(method, path, params, headers, data, files):
            yield self._checked(type_, line)

    def _checked(self, type_: type[T], line: str) -> T:
        answer = PluginDaemonBasicResponse[type_].model_validate_json(line)  # type: ignore[valid-type]
        if answer.code != 0:
            error = PluginDaemonError.model_validate_json(answer.message)
            self._handle_plugin_daemon_error(error.error_type, error.message)
        if answer.data is None:
            raise ValueError("got empty data from plugin daemon")
        return answer.data

    def _handle_plugin_daemon_error(self, error_type: str, message: str) -> None:
        if error_type == PluginInvokeError.__name__:
            detail = json.loads(message)
            known = _INVOKE_ERRORS.get(detail.get("error_type", ""))
            if known is not None:
                raise known(detail.get("message"))
            raise PluginInvokeError(description=message)
        raise PluginDaemonInnerError(code=-500, message=message)
