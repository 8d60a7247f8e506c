"""Active requests of an application, counted in Redis; a stream is wrapped so that its end gives the slot back."""

import contextlib
import time
import uuid
from collections.abc import Generator, Mapping
from typing import Any

from core.errors.error import AppInvokeQuotaExceededError
from extensions.ext_redis import redis_client


class RateLimit:
    _ACTIVE_REQUESTS_KEY = "dify:rate_limit:{}:active_requests"
    _UNLIMITED_REQUEST_ID = "unlimited_request_id"

    def __init__(self, client_id: str, max_active_requests: int):
        self.client_id = client_id
        self.max_active_requests = max_active_requests
        self.active_requests_key = self._ACTIVE_REQUESTS_KEY.format(client_id)

    def enter(self, request_id: str | None = None) -> str:
        if self.disabled():
            return self._UNLIMITED_REQUEST_ID
        request_id = request_id or self.gen_request_key()
        if redis_client.hlen(self.active_requests_key) >= self.max_active_requests:
            raise AppInvokeQuotaExceededError(f"Too many requests for {self.client_id}.")
        redis_client.hset(self.active_requests_key, request_id, str(time.time()))
        return request_id

    def exit(self, request_id: str) -> None:
        if request_id != self._UNLIMITED_REQUEST_ID:
            redis_client.hdel(self.active_requests_key, request_id)

    def disabled(self) -> bool:
        return self.max_active_requests <= 0

    @staticmethod
    def gen_request_key() -> str:
        return str(uuid.uuid4())

    def generate(self, generator: Generator[str, None, None] | Mapping[str, Any], request_id: str) -> Any:
        if isinstance(generator, Mapping):
            return generator
        return RateLimitGenerator(rate_limit=self, generator=generator, request_id=request_id)


@contextlib.contextmanager
def rate_limit_context(rate_limit: RateLimit, request_id: str | None) -> Generator[None, None, None]:
    request_id = rate_limit.enter(request_id)
    yield
    rate_limit.exit(request_id)


class RateLimitGenerator:
    def __init__(self, rate_limit: RateLimit, generator: Generator[str, None, None], request_id: str):
        self.rate_limit = rate_limit
        self.generator = generator
        self.request_id = request_id
        self.closed = False

    def __iter__(self) -> "RateLimitGenerator":
        return self

    def __next__(self) -> str:
        if self.closed:
            raise StopIteration
        try:
            return next(self.generator)
        except Exception:
            self.close()
            raise

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.rate_limit.exit(self.request_id)
            if self.generator is not None and hasattr(self.generator, "close"):
                self.generator.close()
