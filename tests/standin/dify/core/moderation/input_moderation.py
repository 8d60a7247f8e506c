from collections.abc import Mapping
from typing import Any

from core.app.app_config.entities import AppConfig
from core.moderation.base import ModerationAction, ModerationError
from core.moderation.factory import ModerationFactory
from core.ops.ops_trace_manager import TraceQueueManager, TraceTask, TraceTaskName


class InputModeration:
    def check(
        self,
        app_id: str,
        tenant_id: str,
        app_config: AppConfig,
        inputs: Mapping[str, Any],
        query: str,
        message_id: str,
        trace_manager: TraceQueueManager | None = None,
    ) -> tuple[bool, Mapping[str, Any], str]:
        rule = app_config.sensitive_word_avoidance
        if rule is None:
            return False, inputs, query
        factory = ModerationFactory(name=rule.type, app_id=app_id, tenant_id=tenant_id, config=rule.config)
        result = factory.moderation_for_inputs(dict(inputs), query)
        if trace_manager:
            trace_manager.add_trace_task(
                TraceTask(TraceTaskName.MODERATION_TRACE, message_id=message_id, moderation_result=result)
            )
        if not result.flagged:
            return False, inputs, query
        if result.action == ModerationAction.DIRECT_OUTPUT:
            raise ModerationError(result.preset_response)
        return True, result.inputs, result.query
