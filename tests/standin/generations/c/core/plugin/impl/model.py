from core.plugin.impl.base import BasePluginClient


class PluginModelClient(BasePluginClient):
    def invoke_llm(
        self,
        tenant_id,
        user_id,
        plugin_id,
        provider,
        model,
        credentials,
        prompt_messages,
        model_parameters=None,
        tools=None,
        stop=None,
        stream=True,
    ):
        yield from self._stream_request("POST", f"plugin/{tenant_id}/dispatch/llm/invoke")
