from core.tools.entities.tool_entities import TextMessage, ToolInvokeMeta


class ToolEngineInvokeError(Exception):
    def __init__(self, meta: ToolInvokeMeta):
        self.meta = meta


class ToolEngine:
    @staticmethod
    def agent_invoke(
        tool,
        tool_parameters,
        user_id,
        tenant_id,
        message,
        invoke_from,
        agent_tool_callback,
        trace_manager=None,
        conversation_id=None,
        app_id=None,
        message_id=None,
    ):
        try:
            text, meta = "", ToolInvokeMeta()
            for item in ToolEngine._invoke(tool, tool_parameters, user_id, conversation_id, app_id, message_id):
                if isinstance(item, ToolInvokeMeta):
                    meta = item
                elif isinstance(item.message, TextMessage):
                    text += item.message.text
            return text, [], meta
        except ToolEngineInvokeError as exc:
            return f"tool invoke error: {exc.meta.error}", [], exc.meta

    @staticmethod
    def generic_invoke(
        tool,
        tool_parameters,
        user_id,
        workflow_tool_callback,
        workflow_call_depth,
        conversation_id=None,
        app_id=None,
        message_id=None,
    ):
        return tool.invoke(
            user_id=user_id,
            tool_parameters=tool_parameters,
            conversation_id=conversation_id,
            app_id=app_id,
            message_id=message_id,
        )

    @staticmethod
    def _invoke(tool, tool_parameters, user_id, conversation_id=None, app_id=None, message_id=None):
        meta = ToolInvokeMeta(
            tool_config={
                "tool_name": tool.entity.identity.name,
                "tool_provider": tool.entity.identity.provider,
                "tool_provider_type": tool.tool_provider_type().value,
                "tool_parameters": dict(tool.runtime.runtime_parameters),
                "tool_icon": tool.entity.identity.icon,
            }
        )
        try:
            yield from tool.invoke(user_id, tool_parameters, conversation_id, app_id, message_id)
        except Exception as exc:
            meta.error = str(exc)
            raise ToolEngineInvokeError(meta) from exc
        finally:
            meta.time_cost = 0.01
            yield meta
