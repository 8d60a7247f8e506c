"""The streamable transport: a thread posts what is put into one queue and puts the answers into the other."""

import queue
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx


def _post_writer(client: httpx.Client, url: str, asked: "queue.Queue[Any]", answered: "queue.Queue[Any]") -> None:
    while (message := asked.get()) is not None:
        try:
            answered.put(client.post(url, json=message).raise_for_status().json())
        except httpx.HTTPError as exc:
            answered.put({"id": message["id"], "error": {"code": 500, "message": str(exc)}})


@contextmanager
def streamablehttp_client(
    url: str,
    headers: dict[str, Any] | None = None,
    timeout: float | None = None,
    sse_read_timeout: float | None = None,
    terminate_on_close: bool = True,
) -> Generator[tuple["queue.Queue[Any]", "queue.Queue[Any]", Any], None, None]:
    answered: queue.Queue[Any] = queue.Queue()
    asked: queue.Queue[Any] = queue.Queue()
    with ThreadPoolExecutor(max_workers=1) as executor, httpx.Client(headers=headers, timeout=timeout or 30) as client:
        executor.submit(_post_writer, client, url, asked, answered)
        try:
            yield answered, asked, lambda: None
        finally:
            asked.put(None)
