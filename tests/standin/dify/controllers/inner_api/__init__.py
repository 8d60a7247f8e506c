"""What plugins call back: models and tools of the same tenant, by the plugin daemon's key."""

import json
from collections.abc import Callable, Generator, Iterable
from functools import wraps
from typing import Any

from flask import Blueprint, Response, jsonify, request, stream_with_context
from pydantic import BaseModel

from configs import dify_config
from core.db.session_factory import session_factory
from core.plugin.backwards_invocation.model import PluginModelBackwardsInvocation
from core.plugin.backwards_invocation.tool import PluginToolBackwardsInvocation

bp = Blueprint("inner_api", __name__, url_prefix="/inner/api")


def plugin_inner_api_only(view: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(view)
    def decorated(*args: Any, **kwargs: Any) -> Any:
        if request.headers.get("X-Inner-Api-Key") != dify_config.INNER_API_KEY_FOR_PLUGIN:
            return jsonify(code="not_found"), 404
        return view(*args, **kwargs)

    return decorated


def length_prefixed_response(items: Iterable[BaseModel]) -> Response:
    """Each record: 0x0f, a reserved byte, the header's length (10), the data's length, padding, then JSON."""

    def pack(payload: dict[str, Any]) -> bytes:
        data = json.dumps(payload, default=str).encode()
        header = bytes([0x0F, 0]) + (10).to_bytes(2, "little") + len(data).to_bytes(4, "little")
        return header + bytes(6) + data

    def generate() -> Generator[bytes, None, None]:
        try:
            for item in items:
                yield pack({"data": item.model_dump(mode="json"), "error": ""})
        except Exception as exc:
            yield pack({"data": None, "error": str(getattr(exc, "description", None) or exc)})

    return Response(stream_with_context(generate()), mimetype="text/event-stream")


@bp.post("/invoke/llm")
@plugin_inner_api_only
def invoke_llm() -> Response:
    payload = request.get_json()
    return length_prefixed_response(
        PluginModelBackwardsInvocation.invoke_llm(payload["user_id"], payload["tenant_id"], payload)
    )


@bp.post("/invoke/tool")
@plugin_inner_api_only
def invoke_tool() -> Response:
    payload = request.get_json()
    session = session_factory.create_session()
    return length_prefixed_response(
        PluginToolBackwardsInvocation.invoke_tool(
            session=session,
            tenant_id=payload["tenant_id"],
            user_id=payload["user_id"],
            tool_type=payload["tool_type"],
            provider=payload["provider"],
            tool_name=payload["tool"],
            tool_parameters=payload["tool_parameters"],
        )
    )
