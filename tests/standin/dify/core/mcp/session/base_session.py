"""A session on two queues: a thread reads the answers, the caller of `send_request` waits for its own."""

import queue
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

from pydantic import BaseModel

from core.mcp.error import MCPConnectionError
from core.mcp.types import ClientRequest

ResultT = TypeVar("ResultT", bound=BaseModel)


class BaseSession:
    def __init__(
        self,
        read_stream: "queue.Queue[Any]",
        write_stream: "queue.Queue[Any]",
        read_timeout_seconds: timedelta | None = None,
    ):
        self._read_stream = read_stream
        self._write_stream = write_stream
        self._response_streams: dict[int, queue.Queue[Any]] = {}
        self._request_id = 0
        self._executor: ThreadPoolExecutor | None = None
        self._receiver_future: Future[None] | None = None

    def __enter__(self) -> Self:
        self._executor = ThreadPoolExecutor(max_workers=1)
        self._receiver_future = self._executor.submit(self._receive_loop)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        self._read_stream.put(None)
        self._write_stream.put(None)
        if self._receiver_future is not None:
            self._receiver_future.result(timeout=5.0)
        if self._executor is not None:
            self._executor.shutdown(wait=False)

    def send_request(
        self,
        request: ClientRequest,
        result_type: type[ResultT],
        request_read_timeout_seconds: timedelta | None = None,
        metadata: Any = None,
    ) -> ResultT:
        request_id = self._request_id
        self._request_id = request_id + 1
        answers: queue.Queue[Any] = queue.Queue()
        self._response_streams[request_id] = answers
        try:
            self._write_stream.put({"jsonrpc": "2.0", "id": request_id, **request.model_dump(mode="json")})
            answer = answers.get(timeout=30)
            if "error" in answer:
                raise MCPConnectionError(answer["error"]["message"])
            return result_type.model_validate(answer["result"])
        finally:
            self._response_streams.pop(request_id, None)

    def _receive_loop(self) -> None:
        while (message := self._read_stream.get()) is not None:
            waiting = self._response_streams.get(message["id"])
            if waiting is not None:
                waiting.put(message)
