"""HTTP to the outside: one function, its verbs, and the client object graphon's nodes get."""

import logging
import time
from typing import Any

import httpx
from graphon.http.response import HttpResponse
from opentelemetry import trace

from configs import dify_config

logger = logging.getLogger(__name__)
SSRF_DEFAULT_MAX_RETRIES = dify_config.SSRF_DEFAULT_MAX_RETRIES
BACKOFF_FACTOR = 0.5
STATUS_FORCELIST = [429, 500, 502, 503, 504]
_client = httpx.Client(limits=httpx.Limits(max_connections=100, max_keepalive_connections=20), trust_env=False)


class MaxRetriesExceededError(ValueError):
    pass


request_error = httpx.RequestError
max_retries_exceeded_error = MaxRetriesExceededError


def _inject_trace_headers(headers: dict[str, str] | None) -> dict[str, str]:
    headers = dict(headers or {})
    if dify_config.ENABLE_OTEL or any(name.lower() == "traceparent" for name in headers):
        return headers
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        headers["traceparent"] = f"00-{context.trace_id:032x}-{context.span_id:016x}-01"
    return headers


def make_request(
    method: str,
    url: str,
    max_retries: int = SSRF_DEFAULT_MAX_RETRIES,
    stream_response: bool = False,
    **kwargs: Any,
) -> httpx.Response:
    if "allow_redirects" in kwargs:
        kwargs["follow_redirects"] = kwargs.pop("allow_redirects")
    kwargs.pop("ssl_verify", None)
    kwargs["headers"] = _inject_trace_headers(kwargs.get("headers"))
    retries = 0
    while True:
        try:
            response = _client.request(method=method, url=url, **kwargs)
            if response.status_code not in STATUS_FORCELIST or max_retries == 0:
                return response
        except httpx.RequestError:
            if max_retries == 0:
                raise
        retries += 1
        if retries > max_retries:
            raise MaxRetriesExceededError(f"Reached maximum retries ({max_retries}) for URL {url}")
        time.sleep(BACKOFF_FACTOR * (2 ** (retries - 1)))


def get(url: str, max_retries: int = SSRF_DEFAULT_MAX_RETRIES, **kwargs: Any) -> httpx.Response:
    return make_request("GET", url, max_retries=max_retries, **kwargs)


def post(url: str, max_retries: int = SSRF_DEFAULT_MAX_RETRIES, **kwargs: Any) -> httpx.Response:
    return make_request("POST", url, max_retries=max_retries, **kwargs)


def put(url: str, max_retries: int = SSRF_DEFAULT_MAX_RETRIES, **kwargs: Any) -> httpx.Response:
    return make_request("PUT", url, max_retries=max_retries, **kwargs)


def patch(url: str, max_retries: int = SSRF_DEFAULT_MAX_RETRIES, **kwargs: Any) -> httpx.Response:
    return make_request("PATCH", url, max_retries=max_retries, **kwargs)


def delete(url: str, max_retries: int = SSRF_DEFAULT_MAX_RETRIES, **kwargs: Any) -> httpx.Response:
    return make_request("DELETE", url, max_retries=max_retries, **kwargs)


def head(url: str, max_retries: int = SSRF_DEFAULT_MAX_RETRIES, **kwargs: Any) -> httpx.Response:
    return make_request("HEAD", url, max_retries=max_retries, **kwargs)


def _to_graphon_http_response(response: httpx.Response) -> HttpResponse:
    return HttpResponse(
        status_code=response.status_code,
        headers=dict(response.headers),
        content=response.content,
        url=str(response.url),
        reason_phrase=response.reason_phrase,
        fallback_text=response.text,
    )


class GraphonSSRFProxy:
    @property
    def max_retries_exceeded_error(self) -> type[Exception]:
        return max_retries_exceeded_error

    @property
    def request_error(self) -> type[Exception]:
        return request_error

    def get(self, url: str, max_retries: int = SSRF_DEFAULT_MAX_RETRIES, **kwargs: Any) -> HttpResponse:
        return _to_graphon_http_response(get(url, max_retries, **kwargs))

    def head(self, url: str, max_retries: int = SSRF_DEFAULT_MAX_RETRIES, **kwargs: Any) -> HttpResponse:
        return _to_graphon_http_response(head(url, max_retries, **kwargs))

    def post(self, url: str, max_retries: int = SSRF_DEFAULT_MAX_RETRIES, **kwargs: Any) -> HttpResponse:
        return _to_graphon_http_response(post(url, max_retries, **kwargs))

    def put(self, url: str, max_retries: int = SSRF_DEFAULT_MAX_RETRIES, **kwargs: Any) -> HttpResponse:
        return _to_graphon_http_response(put(url, max_retries, **kwargs))

    def delete(self, url: str, max_retries: int = SSRF_DEFAULT_MAX_RETRIES, **kwargs: Any) -> HttpResponse:
        return _to_graphon_http_response(delete(url, max_retries, **kwargs))

    def patch(self, url: str, max_retries: int = SSRF_DEFAULT_MAX_RETRIES, **kwargs: Any) -> HttpResponse:
        return _to_graphon_http_response(patch(url, max_retries, **kwargs))


graphon_ssrf_proxy = GraphonSSRFProxy()
