"""Told before and after a tool runs; the agent's also feeds Dify's own tracing."""

from collections.abc import Generator, Mapping
from typing import Any

from pydantic import BaseModel

from core.ops.ops_trace_manager import TraceQueueManager, TraceTask, TraceTaskName
from core.tools.entities.tool_entities import ToolInvokeMessage


class DifyAgentCallbackHandler(BaseModel):
    color: str | None = ""
    current_loop: int = 1

    def on_tool_start(self, tool_name: str, tool_inputs: Mapping[str, Any]) -> None:
        pass

    def on_tool_end(
        self,
        tool_name: str,
        tool_inputs: Mapping[str, Any],
        tool_outputs: Any,
        message_id: str | None = None,
        timer: Any | None = None,
        trace_manager: TraceQueueManager | None = None,
    ) -> None:
        if trace_manager:
            trace_manager.add_trace_task(
                TraceTask(
                    TraceTaskName.TOOL_TRACE,
                    message_id=message_id,
                    tool_name=tool_name,
                    tool_inputs=tool_inputs,
                    tool_outputs=tool_outputs,
                )
            )

    def on_tool_error(self, error: BaseException, **kwargs: Any) -> None:
        pass


class DifyWorkflowCallbackHandler(DifyAgentCallbackHandler):
    def on_tool_execution(
        self,
        tool_name: str,
        tool_inputs: Mapping[str, Any],
        tool_outputs: Generator[ToolInvokeMessage, None, None],
        message_id: str | None = None,
        timer: Any | None = None,
        trace_manager: TraceQueueManager | None = None,
    ) -> Generator[ToolInvokeMessage, None, None]:
        yield from tool_outputs
