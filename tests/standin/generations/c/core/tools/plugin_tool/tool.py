from core.tools.__base.tool import Tool
from core.tools.entities.tool_entities import (
    JsonMessage,
    MessageType,
    TextMessage,
    ToolEntity,
    ToolIdentity,
    ToolInvokeMessage,
    ToolProviderType,
    ToolRuntime,
)


class PluginTool(Tool):
    def tool_provider_type(self):
        return ToolProviderType.PLUGIN

    def _invoke(self, user_id, tool_parameters, conversation_id=None, app_id=None, message_id=None):
        if self.entity.identity.name == "fail_tool":
            raise ValueError("no weather today")
        yield ToolInvokeMessage(MessageType.TEXT, TextMessage("sunny"))
        yield ToolInvokeMessage(MessageType.JSON, JsonMessage({"degrees": 21}))


class EagerTool(Tool):
    """Does its work in the call, and returns one message."""

    def tool_provider_type(self):
        return ToolProviderType.BUILT_IN

    def _invoke(self, user_id, tool_parameters, conversation_id=None, app_id=None, message_id=None):
        return ToolInvokeMessage(MessageType.TEXT, TextMessage("now"))


def plugin_tool(name: str = "weather") -> PluginTool:
    return PluginTool(ToolEntity(ToolIdentity(name, label=name)), ToolRuntime())
