"""MCP requests and sessions: one span and one duration a request, and nothing of theirs leaves without being asked."""

from __future__ import annotations

from typing import Any

import pytest
from dify_otel_instrumentors import mcp
from dify_otel_instrumentors.core.wrapper import instrument, tap
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from pydantic import BaseModel, RootModel

REQUEST = "mcp.client.operation.duration"
SESSION = "mcp.client.session.duration"


class Parameters(BaseModel):
    name: str
    arguments: dict[str, Any] | None = None


class CallTool(BaseModel):
    method: str = "tools/call"
    params: Parameters


class ListTools(BaseModel):
    method: str = "tools/list"
    params: None = None


class ClientRequest(RootModel[CallTool | ListTools]):
    """As in Dify: the request is the model's root."""


class Text(BaseModel):
    type: str = "text"
    text: str


class Result(BaseModel):
    content: list[Text]
    isError: bool = False


class MCPConnectionError(Exception):
    pass


class Session:
    """The names and parameters of `core.mcp.session.base_session.BaseSession`."""

    def __init__(self, answer: Any) -> None:
        self._request_id = 7
        self.answer = answer

    def send_request(
        self, request: Any, result_type: Any, request_read_timeout_seconds: Any = None, metadata: Any = None
    ) -> Any:
        self._request_id += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Client:
    """The names and parameters of `core.mcp.mcp_client.MCPClient`."""

    fails = False

    def __enter__(self) -> Any:
        self._initialize()
        return self

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        self.cleanup()

    def _initialize(self) -> None:
        if self.fails:
            raise MCPConnectionError

    def cleanup(self) -> None:
        return None


ASKED = ClientRequest(CallTool(params=Parameters(name="weather", arguments={"city": "canary-city"})))


@pytest.fixture
def send(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "send_request", instrument(Session.send_request, mcp.REQUEST))


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "_initialize", tap(Client._initialize, mcp.OPENED))
    monkeypatch.setattr(Client, "__exit__", tap(Client.__exit__, mcp.CLOSED))


def labels(recorded: Any, name: str) -> list[dict[str, Any]]:
    return [dict(p.attributes) for p in recorded.points(name)]


def test_a_tool_call_is_a_client_span_with_its_tool(recorded: Any, send: None) -> None:
    answer = Result(content=[Text(text="canary-answer")])
    assert Session(answer).send_request(ASKED, Result) is answer
    span = recorded.span("tools/call weather")
    assert span.kind.name == "CLIENT"
    facts = dict(span.attributes)
    assert facts["mcp.method.name"] == "tools/call"
    assert facts["gen_ai.tool.name"] == "weather"
    assert facts["gen_ai.operation.name"] == "execute_tool"
    assert facts["gen_ai.span.kind"] == "TOOL"
    assert facts["jsonrpc.request.id"] == "7"
    assert "canary" not in str(facts)
    assert labels(recorded, REQUEST) == [{"mcp.method.name": "tools/call", "gen_ai.tool.name": "weather"}]


def test_content_is_there_when_asked_for(record: Any, send: None) -> None:
    recorded = record(content_on_spans=True)
    Session(Result(content=[Text(text="canary-answer")])).send_request(ASKED, Result)
    facts = dict(recorded.span("tools/call").attributes)
    assert "canary-city" in facts["gen_ai.tool.call.arguments"]
    assert "canary-answer" in facts["gen_ai.tool.call.result"]


def test_other_requests_are_no_tool(recorded: Any, send: None) -> None:
    Session(None).send_request(ClientRequest(ListTools()), dict)
    facts = dict(recorded.span("tools/list").attributes)
    assert "gen_ai.tool.name" not in facts and "gen_ai.operation.name" not in facts
    assert labels(recorded, REQUEST) == [{"mcp.method.name": "tools/list"}]


def test_a_tool_that_says_it_failed_failed(recorded: Any, send: None) -> None:
    Session(Result(content=[], isError=True)).send_request(ASKED, Result)
    span = recorded.span("tools/call")
    assert span.status.status_code.name == "ERROR"
    assert labels(recorded, REQUEST)[0]["error.type"] == "tool_error"


def test_an_error_of_the_connection_passes_and_is_counted(recorded: Any, send: None) -> None:
    error = MCPConnectionError("canary")
    with pytest.raises(MCPConnectionError) as raised:
        Session(error).send_request(ASKED, Result)
    assert raised.value is error
    assert labels(recorded, REQUEST)[0]["error.type"] == "MCPConnectionError"


def test_a_request_of_a_trace_that_is_not_sampled_is_measured(record: Any, send: None) -> None:
    recorded = record(sampler=ALWAYS_OFF)
    Session(Result(content=[])).send_request(ASKED, Result)
    assert recorded.spans == []
    assert labels(recorded, REQUEST) == [{"mcp.method.name": "tools/call", "gen_ai.tool.name": "weather"}]


def test_a_session_lasts_from_the_first_word_to_the_last(recorded: Any, sessions: None) -> None:
    with Client() as client:
        assert labels(recorded, SESSION) == []
    assert labels(recorded, SESSION) == [{}]
    assert vars(client) == {}
    with pytest.raises(KeyError), Client():
        raise KeyError
    assert {"error.type": "KeyError"} in labels(recorded, SESSION)


def test_a_session_that_never_was_has_no_duration(
    recorded: Any, sessions: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Client, "fails", True)
    with pytest.raises(MCPConnectionError):
        Client().__enter__()
    assert labels(recorded, SESSION) == []
