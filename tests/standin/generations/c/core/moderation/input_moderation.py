from core.moderation.factory import ModerationFactory


class InputModeration:
    def check(self, app_id, tenant_id, app_config, inputs, query, message_id, trace_manager=None):
        if not app_config.sensitive_word_avoidance:
            return False, inputs, query
        result = ModerationFactory("keywords", app_id, tenant_id, {}).moderation_for_inputs(inputs, query)
        return result.flagged, result.inputs, result.query
