from typing import Any

from extensions.otel.decorators.handler import SpanHandler


class WorkflowAppRunnerHandler(SpanHandler):
    def _attributes(self, arguments: dict[str, Any] | None) -> dict[str, Any]:
        if not arguments:
            return {}
        entity = arguments["self"].application_generate_entity
        return {"dify.app_id": entity.app_config.app_id, "dify.streaming": bool(entity.stream)}
