"""What all generators share: the producer thread belongs to the response stream, and events become SSE text."""

import json
import threading
from collections.abc import Generator, Mapping
from typing import Any, TypeVar

ResponseT = TypeVar("ResponseT")
_WORKER_THREAD_JOIN_TIMEOUT_SECONDS = 300


class BaseAppGenerator:
    @staticmethod
    def _join_worker_thread(worker_thread: threading.Thread) -> None:
        worker_thread.join(timeout=_WORKER_THREAD_JOIN_TIMEOUT_SECONDS)

    @staticmethod
    def _wrap_stream_with_worker_thread_join(
        response_stream: Generator[ResponseT, None, None], worker_thread: threading.Thread
    ) -> Generator[ResponseT, None, None]:
        try:
            yield from response_stream
        finally:
            BaseAppGenerator._join_worker_thread(worker_thread)

    def _prepare_user_inputs(self, *, user_inputs: Mapping[str, Any] | None, tenant_id: str) -> Mapping[str, Any]:
        return dict(user_inputs or {})

    @classmethod
    def convert_to_event_stream(cls, generator: Mapping[str, Any] | Generator[Any, None, None]) -> Any:
        if isinstance(generator, Mapping):
            return generator

        def gen() -> Generator[str, None, None]:
            for message in generator:
                if isinstance(message, Mapping):
                    yield f"data: {json.dumps(message, default=str)}\n\n"
                else:
                    yield f"event: {message}\n\n"

        return gen()
