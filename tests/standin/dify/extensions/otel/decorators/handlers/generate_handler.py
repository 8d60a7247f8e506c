from typing import Any

from extensions.otel.decorators.handler import SpanHandler


class AppGenerateHandler(SpanHandler):
    def _attributes(self, arguments: dict[str, Any] | None) -> dict[str, Any]:
        if not arguments:
            return {}
        return {
            "dify.app_id": str(arguments["app_model"].id),
            "dify.tenant_id": str(arguments["app_model"].tenant_id),
            "gen_ai.user.id": str(arguments["user"].id),
            "dify.streaming": bool(arguments["streaming"]),
        }
