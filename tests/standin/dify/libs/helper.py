"""How a controller turns a result into an HTTP response."""

import json
from collections.abc import Generator, Mapping
from typing import Any

from flask import Response, stream_with_context

from core.app.features.rate_limiting.rate_limit import RateLimitGenerator


def compact_generate_response(
    response: Mapping[str, Any] | Generator[str, None, None] | RateLimitGenerator,
) -> Response:
    if isinstance(response, Mapping):
        return Response(json.dumps(response, default=str), status=200, mimetype="application/json")

    def generate() -> Generator[str, None, None]:
        yield from response

    return Response(stream_with_context(generate()), status=200, mimetype="text/event-stream")
