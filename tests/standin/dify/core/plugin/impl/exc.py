import json
from collections.abc import Mapping
from typing import Any


class PluginDaemonError(Exception):
    def __init__(self, description: str) -> None:
        self.description = description

    def __str__(self) -> str:
        return f"req_id: standin {type(self).__name__}: {self.description}"


class PluginDaemonInternalError(PluginDaemonError):
    pass


class PluginDaemonInnerError(PluginDaemonInternalError):
    code: int
    message: str

    def __init__(self, code: int, message: str) -> None:
        super().__init__(description=message)
        self.code = code
        self.message = message


class PluginInvokeError(PluginDaemonError, ValueError):
    description: str = "Invoke Error"

    def _get_error_object(self) -> Mapping[str, Any]:
        try:
            return json.loads(self.description)
        except ValueError:
            return {}

    def get_error_type(self) -> str:
        return self._get_error_object().get("error_type", "unknown")

    def get_error_message(self) -> str:
        return self._get_error_object().get("message", "unknown")
