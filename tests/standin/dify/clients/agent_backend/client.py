from collections.abc import Callable, Iterator
from typing import Any

from dify_agent.client import Client
from dify_agent.protocol import CreateRunRequest, CreateRunResponse, RunEvent


class AgentBackendError(Exception):
    pass


class DifyAgentBackendRunClient:
    def __init__(self, client: Client, *, stream_max_reconnects: int = 3, stream_timeout_seconds: float = 1200) -> None:
        self.client = client
        self._stream_max_reconnects = stream_max_reconnects
        self._stream_timeout_seconds = stream_timeout_seconds

    def create_run(self, request: CreateRunRequest) -> CreateRunResponse:
        return self.client.create_run_sync(request)

    def stream_events(
        self, run_id: str, *, after: str | None = None, should_stop: Callable[[], bool] | None = None
    ) -> Iterator[RunEvent]:
        options: dict[str, Any] = {"after": after, "should_stop": should_stop}
        try:
            yield from self.client.stream_events_sync(run_id, **options)
        except Exception as exc:
            raise AgentBackendError(str(exc)) from exc
