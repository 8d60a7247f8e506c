"""What all response pipelines share: turning an error event into an exception and into the message's status."""

import time
from typing import Any, Generic, TypeVar

from graphon.model_runtime.errors.invoke import InvokeAuthorizationError, InvokeError
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.app.apps.base_app_queue_manager import AppQueueManager
from core.app.entities.app_invoke_entities import AppGenerateEntity
from core.app.entities.queue_entities import QueueErrorEvent
from core.app.entities.task_entities import ErrorStreamResponse, PingStreamResponse
from core.moderation.output_moderation import ModerationRule, OutputModeration
from models.enums import MessageStatus
from models.model import Message

AppGenerateEntityT = TypeVar("AppGenerateEntityT", bound=AppGenerateEntity)


class BasedGenerateTaskPipeline(Generic[AppGenerateEntityT]):
    _application_generate_entity: AppGenerateEntityT

    def __init__(self, application_generate_entity: AppGenerateEntityT, queue_manager: AppQueueManager, stream: bool):
        self._application_generate_entity = application_generate_entity
        self.queue_manager = queue_manager
        self.start_at = time.perf_counter()
        self.output_moderation_handler = self._init_output_moderation()
        self.stream = stream

    def handle_error(
        self, *, event: QueueErrorEvent, session: Session | None = None, message_id: str = ""
    ) -> Exception:
        error = event.error
        err: Exception
        if isinstance(error, InvokeAuthorizationError):
            err = InvokeAuthorizationError("Incorrect API key provided")
        elif isinstance(error, InvokeError | ValueError):
            err = error
        else:
            description = getattr(error, "description", None)
            err = Exception(description if description is not None else str(error))
        if not message_id or session is None:
            return err
        message = session.scalar(select(Message).where(Message.id == message_id))
        if message is not None:
            message.status = MessageStatus.ERROR
            message.error = self._error_to_desc(err)
        return err

    def _error_to_desc(self, e: Exception) -> str:
        return getattr(e, "description", None) or str(e) or "Internal Server Error, please contact support."

    def error_to_stream_response(self, e: Exception) -> ErrorStreamResponse:
        return ErrorStreamResponse(task_id=self._application_generate_entity.task_id, err=e)

    def ping_stream_response(self) -> PingStreamResponse:
        return PingStreamResponse(task_id=self._application_generate_entity.task_id)

    def _init_output_moderation(self) -> OutputModeration | None:
        app_config: Any = self._application_generate_entity.app_config
        rule = app_config.sensitive_word_avoidance
        if rule is None:
            return None
        return OutputModeration(
            tenant_id=app_config.tenant_id,
            app_id=app_config.app_id,
            rule=ModerationRule(type=rule.type, config=rule.config),
            queue_manager=self.queue_manager,
        )

    def handle_output_moderation_when_task_finished(self, completion: str) -> str | None:
        handler = self.output_moderation_handler
        if handler is None:
            return None
        handler.stop_thread()
        completion, flagged = handler.moderation_completion(completion=completion, public_event=False)
        self.output_moderation_handler = None
        return completion if flagged else None
