"""Runs a tool for an agent (errors become text) or for a workflow (errors are raised)."""

import contextlib
import json
import logging
from collections.abc import Generator
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from core.app.entities.app_invoke_entities import InvokeFrom
from core.callback_handler.agent_tool_callback_handler import DifyAgentCallbackHandler, DifyWorkflowCallbackHandler
from core.ops.ops_trace_manager import TraceQueueManager
from core.tools.__base.tool import Tool
from core.tools.entities.tool_entities import ToolInvokeMessage, ToolInvokeMeta
from core.tools.errors import ToolEngineInvokeError, ToolInvokeError, ToolNotFoundError
from core.tools.workflow_as_tool.tool import WorkflowTool
from models.base import new_id
from models.model import Message, MessageFile

logger = logging.getLogger(__name__)


class ToolEngine:
    @staticmethod
    def agent_invoke(
        session: Session,
        tool: Tool,
        tool_parameters: str | dict[str, Any],
        user_id: str,
        tenant_id: str,
        message: Message,
        invoke_from: InvokeFrom,
        agent_tool_callback: DifyAgentCallbackHandler,
        trace_manager: TraceQueueManager | None = None,
        conversation_id: str | None = None,
        app_id: str | None = None,
        message_id: str | None = None,
    ) -> tuple[str, list[str], ToolInvokeMeta]:
        if isinstance(tool_parameters, str):
            parameters = tool.get_runtime_parameters()
            text = tool_parameters
            with contextlib.suppress(ValueError):
                tool_parameters = json.loads(text)
            if not isinstance(tool_parameters, dict):
                if len(parameters) != 1:
                    raise ValueError(f"tool_parameters should be a dict, but got a string: {text}")
                tool_parameters = {parameters[0].name: text}
        name = tool.entity.identity.name
        try:
            agent_tool_callback.on_tool_start(tool_name=name, tool_inputs=tool_parameters)
            meta: ToolInvokeMeta | None = None
            messages: list[ToolInvokeMessage] = []
            for item in ToolEngine._invoke(
                session, tool, tool_parameters, user_id, conversation_id, app_id, message_id
            ):
                if isinstance(item, ToolInvokeMeta):
                    meta = item
                else:
                    messages.append(item)
            plain_text = ToolEngine.tool_response_to_str(messages)
            agent_tool_callback.on_tool_end(
                tool_name=name,
                tool_inputs=tool_parameters,
                tool_outputs=plain_text,
                message_id=message.id,
                trace_manager=trace_manager,
            )
            assert meta is not None
            return plain_text, ToolEngine._create_message_files(session, messages, message, user_id), meta
        except ToolEngineInvokeError as exc:
            agent_tool_callback.on_tool_error(exc)
            return f"tool invoke error: {exc.meta.error}", [], exc.meta
        except ToolNotFoundError as exc:
            error = f"there is not a tool named {name}"
            agent_tool_callback.on_tool_error(exc)
        except ToolInvokeError as exc:
            error = f"tool invoke error: {exc}"
            agent_tool_callback.on_tool_error(exc)
        except Exception as exc:
            error = f"unknown error: {exc}"
            agent_tool_callback.on_tool_error(exc)
        return error, [], ToolInvokeMeta.error_instance(error)

    @staticmethod
    def generic_invoke(
        session: Session,
        tool: Tool,
        tool_parameters: dict[str, Any],
        user_id: str,
        workflow_tool_callback: DifyWorkflowCallbackHandler,
        workflow_call_depth: int,
        conversation_id: str | None = None,
        app_id: str | None = None,
        message_id: str | None = None,
    ) -> Generator[ToolInvokeMessage, None, None]:
        try:
            workflow_tool_callback.on_tool_start(tool_name=tool.entity.identity.name, tool_inputs=tool_parameters)
            if isinstance(tool, WorkflowTool):
                tool.workflow_call_depth = workflow_call_depth + 1
            response = tool.invoke(
                session=session,
                user_id=user_id,
                tool_parameters=tool_parameters,
                conversation_id=conversation_id,
                app_id=app_id,
                message_id=message_id,
            )
            return workflow_tool_callback.on_tool_execution(
                tool_name=tool.entity.identity.name, tool_inputs=tool_parameters, tool_outputs=response
            )
        except Exception as exc:
            workflow_tool_callback.on_tool_error(exc)
            raise

    @staticmethod
    def _invoke(
        session: Session,
        tool: Tool,
        tool_parameters: dict[str, Any],
        user_id: str,
        conversation_id: str | None = None,
        app_id: str | None = None,
        message_id: str | None = None,
    ) -> Generator[ToolInvokeMessage | ToolInvokeMeta, None, None]:
        started_at = datetime.now(UTC)
        identity = tool.entity.identity
        meta = ToolInvokeMeta(
            tool_config={
                "tool_name": identity.name,
                "tool_provider": identity.provider,
                "tool_provider_type": tool.tool_provider_type().value,
                "tool_parameters": deepcopy(tool.runtime.runtime_parameters),
                "tool_icon": identity.icon,
            }
        )
        try:
            yield from tool.invoke(session, user_id, tool_parameters, conversation_id, app_id, message_id)
        except Exception as exc:
            meta.error = str(exc)
            raise ToolEngineInvokeError(meta) from exc
        finally:
            meta.time_cost = (datetime.now(UTC) - started_at).total_seconds()
            yield meta

    @staticmethod
    def _create_message_files(
        session: Session, tool_messages: list[ToolInvokeMessage], agent_message: Message, user_id: str
    ) -> list[str]:
        ids = []
        for item in tool_messages:
            if item.type == ToolInvokeMessage.MessageType.IMAGE_LINK:
                row = MessageFile(
                    id=new_id(),
                    message_id=agent_message.id,
                    type="image",
                    transfer_method="tool_file",
                    belongs_to="assistant",
                    created_by=user_id,
                )
                session.add(row)
                ids.append(row.id)
        return ids

    @staticmethod
    def tool_response_to_str(tool_response: list[ToolInvokeMessage]) -> str:
        parts = []
        for response in tool_response:
            if isinstance(response.message, ToolInvokeMessage.TextMessage):
                parts.append(response.message.text)
            elif isinstance(response.message, ToolInvokeMessage.JsonMessage):
                parts.append(json.dumps(response.message.json_object))
        return "".join(parts)
