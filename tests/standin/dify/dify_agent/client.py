"""HTTP to the agent backend, with a client of its own (Dify's is a separate package too)."""

import json
from collections.abc import Iterator
from typing import Any

import httpx

from dify_agent.protocol import EVENTS, CreateRunRequest, CreateRunResponse


class Client:
    def __init__(self, base_url: str, stream_timeout: float = 30, headers: dict[str, str] | None = None) -> None:
        self._base_url = base_url
        self._client = httpx.Client(headers=headers, timeout=stream_timeout, trust_env=False)

    def create_run_sync(self, request: CreateRunRequest) -> CreateRunResponse:
        response = self._client.post(f"{self._base_url}/runs", json=request.model_dump())
        response.raise_for_status()
        return CreateRunResponse.model_validate(response.json())

    def stream_events_sync(self, run_id: str, **_: Any) -> Iterator[Any]:
        with self._client.stream("GET", f"{self._base_url}/runs/{run_id}/events/sse") as response:
            for line in response.iter_lines():
                if line.startswith("data: "):
                    body = json.loads(line[6:])
                    yield EVENTS[body["type"]].model_validate(body)
