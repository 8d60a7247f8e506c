import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from datetime import datetime
from threading import Thread
from typing import Any

from graphon.model_runtime.entities.llm_entities import LLMUsage
from graphon.runtime import GraphRuntimeState
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.app.apps.base_app_queue_manager import AppQueueManager, PublishFrom
from core.app.apps.workflow_response_converter import WorkflowResponseConverter
from core.app.entities.app_invoke_entities import AdvancedChatAppGenerateEntity
from core.app.entities.queue_entities import (
    QueueAdvancedChatMessageEndEvent,
    QueueErrorEvent,
    QueuePingEvent,
    QueueRetrieverResourcesEvent,
    QueueStopEvent,
    QueueTextChunkEvent,
    QueueWorkflowFailedEvent,
    QueueWorkflowPartialSuccessEvent,
    QueueWorkflowPausedEvent,
    QueueWorkflowStartedEvent,
    QueueWorkflowSucceededEvent,
)
from core.app.entities.task_entities import (
    ChatbotAppBlockingResponse,
    ChatbotAppStreamResponse,
    ErrorStreamResponse,
    MessageEndStreamResponse,
    StreamEvent,
    StreamResponse,
    WorkflowStreamResponse,
    WorkflowTaskState,
)
from core.app.task_pipeline.based_generate_task_pipeline import BasedGenerateTaskPipeline
from core.app.task_pipeline.message_cycle_manager import MessageCycleManager
from core.db.session_factory import session_factory
from libs.datetime_utils import naive_utc_now
from models.account import Account
from models.enums import MessageStatus
from models.model import AppMode, Conversation, EndUser, Message
from models.workflow import Workflow


@dataclass(frozen=True, slots=True)
class WorkflowSnapshot:
    id: str
    tenant_id: str
    features_dict: Mapping[str, Any]

    @classmethod
    def from_workflow(cls, workflow: Workflow) -> "WorkflowSnapshot":
        return cls(id=workflow.id, tenant_id=workflow.tenant_id, features_dict=workflow.features_dict)


@dataclass(frozen=True, slots=True)
class ConversationSnapshot:
    id: str
    mode: AppMode

    @classmethod
    def from_conversation(cls, conversation: Conversation) -> "ConversationSnapshot":
        return cls(id=conversation.id, mode=AppMode(conversation.mode))


@dataclass(frozen=True, slots=True)
class MessageSnapshot:
    id: str
    query: str
    created_at: datetime
    status: MessageStatus
    answer: str

    @classmethod
    def from_message(cls, message: Message) -> "MessageSnapshot":
        return cls(
            id=message.id,
            query=message.query,
            created_at=message.created_at,
            status=MessageStatus(message.status),
            answer=message.answer,
        )


class AdvancedChatAppGenerateTaskPipeline:
    def __init__(
        self,
        application_generate_entity: AdvancedChatAppGenerateEntity,
        workflow: WorkflowSnapshot,
        queue_manager: AppQueueManager,
        conversation: ConversationSnapshot,
        message: MessageSnapshot,
        user: Account | EndUser,
        stream: bool,
        dialogue_count: int,
        draft_var_saver_factory: Any,
    ):
        self._base_task_pipeline = BasedGenerateTaskPipeline(
            application_generate_entity=application_generate_entity, queue_manager=queue_manager, stream=stream
        )
        self._task_state = WorkflowTaskState()
        if message.status == MessageStatus.PAUSED:
            self._task_state.answer = message.answer
        self._message_cycle_manager = MessageCycleManager(
            application_generate_entity=application_generate_entity, task_state=self._task_state
        )
        self._application_generate_entity = application_generate_entity
        self._workflow_id = workflow.id
        self._workflow_features_dict = workflow.features_dict
        self._workflow_tenant_id = workflow.tenant_id
        self._conversation_id = conversation.id
        self._conversation_mode = conversation.mode
        self._message_id = message.id
        self._message_created_at = int(message.created_at.timestamp())
        self._conversation_name_generate_thread: Thread | None = None
        self._recorded_files: list[Mapping[str, Any]] = []
        self._workflow_run_id: str = ""
        self._user_id = user.id
        self._workflow_response_converter = WorkflowResponseConverter(
            application_generate_entity=application_generate_entity,
            user=user,
            workflow_id=workflow.id,
            workflow_run_id=application_generate_entity.workflow_run_id or "",
        )

    def process(self) -> ChatbotAppBlockingResponse | Generator[ChatbotAppStreamResponse, None, None]:
        self._conversation_name_generate_thread = self._message_cycle_manager.generate_conversation_name(
            conversation_id=self._conversation_id, query=self._application_generate_entity.query
        )
        generator = self._process_stream_response(trace_manager=self._application_generate_entity.trace_manager)
        if self._base_task_pipeline.stream:
            return self._to_stream_response(generator)
        return self._to_blocking_response(generator)

    def _to_blocking_response(self, generator: Generator[StreamResponse, None, None]) -> ChatbotAppBlockingResponse:
        ends = {StreamEvent.MESSAGE_END, StreamEvent.WORKFLOW_PAUSED}
        for response in generator:
            if isinstance(response, ErrorStreamResponse):
                raise response.err
            if response.event in ends:
                return ChatbotAppBlockingResponse(
                    task_id=response.task_id,
                    data=ChatbotAppBlockingResponse.Data(
                        id=self._message_id,
                        mode=self._conversation_mode,
                        conversation_id=self._conversation_id,
                        message_id=self._message_id,
                        answer=self._task_state.answer,
                        metadata=self._task_state.metadata.model_dump(),
                        created_at=self._message_created_at,
                    ),
                )
        raise ValueError("queue listening stopped unexpectedly.")

    def _to_stream_response(
        self, generator: Generator[StreamResponse, None, None]
    ) -> Generator[ChatbotAppStreamResponse, None, None]:
        for response in generator:
            yield ChatbotAppStreamResponse(
                conversation_id=self._conversation_id,
                message_id=self._message_id,
                created_at=self._message_created_at,
                stream_response=response,
            )

    def _process_stream_response(
        self, tts_publisher: None = None, trace_manager: Any = None
    ) -> Generator[StreamResponse, None, None]:
        base = self._base_task_pipeline
        for message in base.queue_manager.listen():
            event = message.event
            state = base.queue_manager.graph_runtime_state
            match event:
                case QueuePingEvent():
                    yield base.ping_stream_response()
                case QueueErrorEvent():
                    with session_factory.create_session() as session:
                        err = base.handle_error(event=event, session=session, message_id=self._message_id)
                        session.commit()
                    yield base.error_to_stream_response(err)
                    break
                case QueueWorkflowStartedEvent():
                    with session_factory.create_session() as session:
                        row = self._get_message(session=session)
                        if row is not None:
                            self._workflow_run_id = self._workflow_response_converter.workflow_run_id
                            row.workflow_run_id = self._workflow_run_id
                        session.commit()
                    yield from self._converted(event, state)
                case QueueTextChunkEvent():
                    now = time.perf_counter()
                    self._task_state.first_token_time = self._task_state.first_token_time or now
                    self._task_state.last_token_time = now
                    self._task_state.is_streaming_response = True
                    handler = base.output_moderation_handler
                    if handler is not None:
                        if handler.should_direct_output():
                            self._task_state.answer = handler.get_final_output()
                            base.queue_manager.publish(
                                QueueStopEvent(stopped_by=QueueStopEvent.StopBy.OUTPUT_MODERATION),
                                PublishFrom.TASK_PIPELINE,
                            )
                            continue
                        handler.append_new_token(event.text)
                    self._task_state.answer += event.text
                    yield self._message_cycle_manager.message_to_stream_response(
                        answer=event.text, message_id=self._message_id
                    )
                case QueueRetrieverResourcesEvent():
                    self._message_cycle_manager.handle_retriever_resources(event)
                case QueueWorkflowSucceededEvent() | QueueWorkflowPartialSuccessEvent():
                    yield from self._message_end(state)
                    yield from self._converted(event, state)
                    break
                case QueueWorkflowFailedEvent():
                    error = QueueErrorEvent(error=ValueError(f"Run failed: {event.error}"))
                    with session_factory.create_session() as session:
                        err = base.handle_error(event=error, session=session, message_id=self._message_id)
                        session.commit()
                    yield from self._converted(event, state)
                    yield base.error_to_stream_response(err)
                    break
                case QueueWorkflowPausedEvent():
                    with session_factory.create_session() as session:
                        self._save_message(session=session, graph_runtime_state=state)
                        row = self._get_message(session=session)
                        if row is not None:
                            row.status = MessageStatus.PAUSED
                        session.commit()
                    yield from self._converted(event, state)
                    break
                case QueueStopEvent():
                    end = self._finish(state)
                    if state is not None:
                        yield from self._converted(event, state)
                    yield end
                    break
                case QueueAdvancedChatMessageEndEvent():
                    yield from self._message_end(state)
                case _:
                    yield from self._converted(event, state)

    def _message_end(self, state: GraphRuntimeState | None) -> Generator[StreamResponse, None, None]:
        replaced = self._base_task_pipeline.handle_output_moderation_when_task_finished(self._task_state.answer)
        if replaced:
            self._task_state.answer = replaced
            yield self._message_cycle_manager.message_replace_to_stream_response(answer=replaced)
        yield self._finish(state)

    def _finish(self, state: GraphRuntimeState | None) -> MessageEndStreamResponse:
        with session_factory.create_session() as session:
            self._save_message(session=session, graph_runtime_state=state)
            session.commit()
        return MessageEndStreamResponse(
            task_id=self._application_generate_entity.task_id,
            id=self._message_id,
            metadata=self._task_state.metadata.model_dump(),
        )

    def _converted(self, event: Any, state: GraphRuntimeState | None) -> Generator[WorkflowStreamResponse, None, None]:
        response = self._workflow_response_converter.convert(event, state)
        if response is not None:
            yield response

    def _save_message(self, *, session: Session, graph_runtime_state: GraphRuntimeState | None = None) -> None:
        message = self._get_message(session=session)
        if message is None:
            return
        if message.status == MessageStatus.PAUSED:
            message.status = MessageStatus.NORMAL
        message.answer = self._task_state.answer
        message.updated_at = naive_utc_now()
        message.provider_response_latency = time.perf_counter() - self._base_task_pipeline.start_at
        usage = graph_runtime_state.llm_usage if graph_runtime_state else LLMUsage.empty_usage()
        message.message_tokens = usage.prompt_tokens
        message.message_unit_price = usage.prompt_unit_price
        message.message_price_unit = usage.prompt_price_unit
        message.answer_tokens = usage.completion_tokens
        message.answer_unit_price = usage.completion_unit_price
        message.answer_price_unit = usage.completion_price_unit
        message.total_price = usage.total_price
        message.currency = usage.currency
        first, last = self._task_state.first_token_time, self._task_state.last_token_time
        if first is not None and last is not None:
            usage.time_to_first_token = round(first - self._base_task_pipeline.start_at, 3)
            usage.time_to_generate = round(last - first, 3)
        self._task_state.metadata.usage = usage
        message.message_metadata = self._task_state.metadata.model_dump_json()

    def _get_message(self, *, session: Session) -> Message | None:
        return session.scalar(select(Message).where(Message.id == self._message_id))
