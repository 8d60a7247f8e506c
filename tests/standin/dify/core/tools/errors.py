from core.tools.entities.tool_entities import ToolInvokeMeta


class ToolProviderNotFoundError(ValueError):
    pass


class ToolNotFoundError(ValueError):
    pass


class ToolParameterValidationError(ValueError):
    pass


class ToolProviderCredentialValidationError(ValueError):
    pass


class ToolNotSupportedError(ValueError):
    pass


class ToolInvokeError(ValueError):
    pass


class ToolEngineInvokeError(Exception):
    def __init__(self, meta: ToolInvokeMeta):
        self.meta = meta
        super().__init__()
