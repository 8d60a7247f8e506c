"""Responses as the service API sends them: one mapping, or a stream of mappings and `ping`."""

from collections.abc import Generator, Mapping
from typing import Any

from graphon.model_runtime.errors.invoke import InvokeError
from graphon.model_runtime.utils.encoders import jsonable_encoder

from core.app.entities.task_entities import (
    AppBlockingResponse,
    AppStreamResponse,
    ChatbotAppBlockingResponse,
    CompletionAppBlockingResponse,
    ErrorStreamResponse,
    PingStreamResponse,
    WorkflowAppBlockingResponse,
)


def _error_payload(error: Exception) -> dict[str, Any]:
    if isinstance(error, InvokeError):
        return {"code": "completion_request_error", "message": str(error), "status": 400}
    if isinstance(error, ValueError):
        return {"code": "invalid_param", "message": str(error), "status": 400}
    return {"code": "internal_server_error", "message": "Internal Server Error, please contact support.", "status": 500}


def _blocking(response: AppBlockingResponse) -> Mapping[str, Any]:
    if isinstance(response, WorkflowAppBlockingResponse):
        return jsonable_encoder(response.model_dump())
    assert isinstance(response, ChatbotAppBlockingResponse | CompletionAppBlockingResponse)
    return {"event": "message", "task_id": response.task_id, **jsonable_encoder(response.data.model_dump())}


def _stream(responses: Generator[AppStreamResponse, None, None]) -> Generator[Mapping[str, Any] | str, None, None]:
    for response in responses:
        inner = response.stream_response
        if isinstance(inner, PingStreamResponse):
            yield "ping"
            continue
        envelope = response.model_dump(exclude={"stream_response"}, exclude_none=True)
        if isinstance(inner, ErrorStreamResponse):
            yield {"event": inner.event.value, **envelope, **_error_payload(inner.err)}
        else:
            yield {**envelope, **jsonable_encoder(inner.model_dump())}


class AppGenerateResponseConverter:
    @classmethod
    def convert(
        cls, response: AppBlockingResponse | Generator[AppStreamResponse, None, None], invoke_from: Any
    ) -> Mapping[str, Any] | Generator[Mapping[str, Any] | str, None, None]:
        if isinstance(response, AppBlockingResponse):
            return _blocking(response)
        return _stream(response)
