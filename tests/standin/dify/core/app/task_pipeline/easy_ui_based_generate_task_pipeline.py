"""Response pipeline of chat, agent-chat and completion: drains the queue in the request and saves the message."""

import time
from collections.abc import Generator
from threading import Thread

from graphon.model_runtime.entities.llm_entities import LLMResult, LLMUsage
from graphon.model_runtime.entities.message_entities import AssistantPromptMessage
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.app.apps.base_app_queue_manager import AppQueueManager
from core.app.entities.app_invoke_entities import (
    AgentChatAppGenerateEntity,
    ChatAppGenerateEntity,
    CompletionAppGenerateEntity,
)
from core.app.entities.queue_entities import (
    QueueAgentMessageEvent,
    QueueAgentThoughtEvent,
    QueueErrorEvent,
    QueueLLMChunkEvent,
    QueueMessageEndEvent,
    QueueMessageReplaceEvent,
    QueuePingEvent,
    QueueRetrieverResourcesEvent,
    QueueStopEvent,
)
from core.app.entities.task_entities import (
    AgentMessageStreamResponse,
    AgentThoughtStreamResponse,
    ChatbotAppBlockingResponse,
    ChatbotAppStreamResponse,
    CompletionAppBlockingResponse,
    CompletionAppStreamResponse,
    EasyUITaskState,
    ErrorStreamResponse,
    MessageEndStreamResponse,
    StreamEvent,
    StreamResponse,
)
from core.app.task_pipeline.based_generate_task_pipeline import BasedGenerateTaskPipeline
from core.app.task_pipeline.message_cycle_manager import MessageCycleManager
from core.db.session_factory import session_factory
from core.ops.ops_trace_manager import TraceQueueManager, TraceTask, TraceTaskName
from core.prompt.prompt_message_util import PromptMessageUtil
from events.message_event import message_was_created
from libs.datetime_utils import naive_utc_now
from models.model import AppMode, Conversation, Message, MessageAgentThought

EasyUIAppGenerateEntity = ChatAppGenerateEntity | CompletionAppGenerateEntity | AgentChatAppGenerateEntity


class EasyUIBasedGenerateTaskPipeline(BasedGenerateTaskPipeline[EasyUIAppGenerateEntity]):
    _task_state: EasyUITaskState
    _precomputed_event_type: StreamEvent | None = None

    def __init__(
        self,
        application_generate_entity: EasyUIAppGenerateEntity,
        queue_manager: AppQueueManager,
        conversation: Conversation,
        message: Message,
        stream: bool,
    ):
        super().__init__(
            application_generate_entity=application_generate_entity, queue_manager=queue_manager, stream=stream
        )
        self._model_config = application_generate_entity.model_conf
        self._app_config = application_generate_entity.app_config
        self._conversation_id = conversation.id
        self._conversation_mode = conversation.mode
        self._message_id = message.id
        self._message_created_at = int(message.created_at.timestamp())
        self._task_state = EasyUITaskState(
            llm_result=LLMResult(
                model=self._model_config.model,
                prompt_messages=[],
                message=AssistantPromptMessage(content=""),
                usage=LLMUsage.empty_usage(),
            )
        )
        self._message_cycle_manager = MessageCycleManager(
            application_generate_entity=application_generate_entity, task_state=self._task_state
        )
        self._conversation_name_generate_thread: Thread | None = None

    def process(
        self,
    ) -> (
        ChatbotAppBlockingResponse
        | CompletionAppBlockingResponse
        | Generator[ChatbotAppStreamResponse | CompletionAppStreamResponse, None, None]
    ):
        entity = self._application_generate_entity
        if entity.app_config.app_mode != AppMode.COMPLETION:
            self._conversation_name_generate_thread = self._message_cycle_manager.generate_conversation_name(
                conversation_id=self._conversation_id, query=entity.query
            )
        generator = self._wrapper_process_stream_response(trace_manager=entity.trace_manager)
        return self._to_stream_response(generator) if self.stream else self._to_blocking_response(generator)

    def _to_blocking_response(
        self, generator: Generator[StreamResponse, None, None]
    ) -> ChatbotAppBlockingResponse | CompletionAppBlockingResponse:
        for response in generator:
            if isinstance(response, ErrorStreamResponse):
                raise response.err
            if not isinstance(response, MessageEndStreamResponse):
                continue
            task_id = self._application_generate_entity.task_id
            answer = self._task_state.llm_result.message.get_text_content()
            metadata = self._task_state.metadata.model_dump()
            if self._conversation_mode == AppMode.COMPLETION:
                return CompletionAppBlockingResponse(
                    task_id=task_id,
                    data=CompletionAppBlockingResponse.Data(
                        id=self._message_id,
                        mode=self._conversation_mode,
                        message_id=self._message_id,
                        answer=answer,
                        metadata=metadata,
                        created_at=self._message_created_at,
                    ),
                )
            return ChatbotAppBlockingResponse(
                task_id=task_id,
                data=ChatbotAppBlockingResponse.Data(
                    id=self._message_id,
                    mode=self._conversation_mode,
                    conversation_id=self._conversation_id,
                    message_id=self._message_id,
                    answer=answer,
                    metadata=metadata,
                    created_at=self._message_created_at,
                ),
            )
        raise RuntimeError("queue listening stopped unexpectedly.")

    def _to_stream_response(
        self, generator: Generator[StreamResponse, None, None]
    ) -> Generator[ChatbotAppStreamResponse | CompletionAppStreamResponse, None, None]:
        for response in generator:
            if isinstance(self._application_generate_entity, CompletionAppGenerateEntity):
                yield CompletionAppStreamResponse(
                    message_id=self._message_id, created_at=self._message_created_at, stream_response=response
                )
            else:
                yield ChatbotAppStreamResponse(
                    conversation_id=self._conversation_id,
                    message_id=self._message_id,
                    created_at=self._message_created_at,
                    stream_response=response,
                )

    def _wrapper_process_stream_response(
        self, trace_manager: TraceQueueManager | None = None
    ) -> Generator[StreamResponse, None, None]:
        yield from self._process_stream_response(publisher=None, trace_manager=trace_manager)

    def _process_stream_response(
        self, publisher: None, trace_manager: TraceQueueManager | None = None
    ) -> Generator[StreamResponse, None, None]:
        result = self._task_state.llm_result
        for queued in self.queue_manager.listen():
            event = queued.event
            if isinstance(event, QueueErrorEvent):
                with session_factory.create_session() as session:
                    err = self.handle_error(event=event, session=session, message_id=self._message_id)
                    session.commit()
                yield self.error_to_stream_response(err)
                break
            if isinstance(event, QueueStopEvent | QueueMessageEndEvent):
                if isinstance(event, QueueMessageEndEvent) and event.llm_result:
                    self._task_state.llm_result = result = event.llm_result
                replaced = self.handle_output_moderation_when_task_finished(result.message.get_text_content())
                if replaced:
                    result.message.content = replaced
                    yield self._message_cycle_manager.message_replace_to_stream_response(answer=replaced)
                with session_factory.create_session() as session:
                    self._save_message(session=session, trace_manager=trace_manager)
                    session.commit()
                yield self._message_end_to_stream_response()
            elif isinstance(event, QueueRetrieverResourcesEvent):
                self._message_cycle_manager.handle_retriever_resources(event)
            elif isinstance(event, QueueAgentThoughtEvent):
                thought = self._agent_thought_to_stream_response(event)
                if thought is not None:
                    yield thought
            elif isinstance(event, QueueAgentMessageEvent):
                text = event.chunk.delta.message.get_text_content()
                yield AgentMessageStreamResponse(
                    task_id=self._application_generate_entity.task_id, id=self._message_id, answer=text
                )
            elif isinstance(event, QueueLLMChunkEvent):
                if not result.prompt_messages:
                    result.prompt_messages = event.chunk.prompt_messages
                text = event.chunk.delta.message.get_text_content()
                if self._handle_output_moderation_chunk(text):
                    continue
                result.message.content = (result.message.content or "") + text  # type: ignore[operator]
                if self._precomputed_event_type is None:
                    self._precomputed_event_type = self._message_cycle_manager.get_message_event_type(
                        message_id=self._message_id
                    )
                yield self._message_cycle_manager.message_to_stream_response(
                    answer=text, message_id=self._message_id, event_type=self._precomputed_event_type
                )
            elif isinstance(event, QueueMessageReplaceEvent):
                yield self._message_cycle_manager.message_replace_to_stream_response(answer=event.text)
            elif isinstance(event, QueuePingEvent):
                yield self.ping_stream_response()

    def _save_message(self, *, session: Session, trace_manager: TraceQueueManager | None = None) -> None:
        llm_result = self._task_state.llm_result
        usage = llm_result.usage
        message = session.scalar(select(Message).where(Message.id == self._message_id))
        conversation = session.scalar(select(Conversation).where(Conversation.id == self._conversation_id))
        if message is None or conversation is None:
            raise ValueError(f"message {self._message_id} not found")
        message.message = PromptMessageUtil.prompt_messages_to_prompt_for_saving(
            self._model_config.mode, llm_result.prompt_messages
        )
        message.message_tokens = usage.prompt_tokens
        message.message_unit_price = usage.prompt_unit_price
        message.message_price_unit = usage.prompt_price_unit
        message.answer = llm_result.message.get_text_content().strip()
        message.updated_at = naive_utc_now()
        message.answer_tokens = usage.completion_tokens
        message.answer_unit_price = usage.completion_unit_price
        message.answer_price_unit = usage.completion_price_unit
        message.provider_response_latency = time.perf_counter() - self.start_at
        message.total_price = usage.total_price
        message.currency = usage.currency
        usage.latency = message.provider_response_latency
        self._task_state.metadata.usage = usage
        message.message_metadata = self._task_state.metadata.model_dump_json()
        if trace_manager:
            trace_manager.add_trace_task(
                TraceTask(
                    TraceTaskName.MESSAGE_TRACE, conversation_id=self._conversation_id, message_id=self._message_id
                )
            )
        message_was_created.send(message, application_generate_entity=self._application_generate_entity)

    def _message_end_to_stream_response(self) -> MessageEndStreamResponse:
        self._task_state.metadata.usage = self._task_state.llm_result.usage
        return MessageEndStreamResponse(
            task_id=self._application_generate_entity.task_id,
            id=self._message_id,
            metadata=self._task_state.metadata.model_dump(),
        )

    def _agent_thought_to_stream_response(self, event: QueueAgentThoughtEvent) -> AgentThoughtStreamResponse | None:
        with session_factory.create_session() as session:
            thought = session.scalar(
                select(MessageAgentThought).where(MessageAgentThought.id == event.agent_thought_id)
            )
        if thought is None:
            return None
        return AgentThoughtStreamResponse(
            task_id=self._application_generate_entity.task_id,
            id=thought.id,
            position=thought.position,
            thought=thought.thought,
            observation=thought.observation,
            tool=thought.tool,
            tool_input=thought.tool_input,
        )

    def _handle_output_moderation_chunk(self, text: str) -> bool:
        handler = self.output_moderation_handler
        if handler is None:
            return False
        if handler.should_direct_output():
            self._task_state.llm_result.message.content = handler.get_final_output()
            return True
        handler.append_new_token(text)
        return False
