from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from core.mcp.client.streamable_client import streamablehttp_client
from core.mcp.session.client_session import ClientSession
from core.mcp.types import CallToolResult


class MCPClient:
    def __init__(
        self,
        server_url: str,
        headers: dict[str, str] | None = None,
        timeout: float | None = None,
        sse_read_timeout: float | None = None,
    ):
        self.server_url = server_url
        self.headers = headers.copy() if headers else {}
        self.timeout = timeout
        self.sse_read_timeout = sse_read_timeout
        self._session: ClientSession | None = None
        self._exit_stack = ExitStack()
        self._initialized = False

    def __enter__(self) -> Self:
        self._initialize()
        self._initialized = True
        return self

    def __exit__(self, exc_type: type | None, exc_value: BaseException | None, traceback: TracebackType | None) -> None:
        self.cleanup()

    def _initialize(self) -> None:
        streams = streamablehttp_client(
            url=self.server_url, headers=self.headers, timeout=self.timeout, sse_read_timeout=self.sse_read_timeout
        )
        read_stream, write_stream, _ = self._exit_stack.enter_context(streams)
        self._session = self._exit_stack.enter_context(ClientSession(read_stream, write_stream))
        self._session.initialize()

    def invoke_tool(self, tool_name: str, tool_args: dict[str, Any]) -> CallToolResult:
        if not self._session:
            raise ValueError("Session not initialized.")
        return self._session.call_tool(tool_name, tool_args)

    def cleanup(self) -> None:
        try:
            self._exit_stack.close()
        finally:
            self._session = None
            self._initialized = False
