"""What the simple runners share: prompts, moderation, and handing model output to the queue."""

from collections.abc import Generator, Mapping, Sequence
from typing import Any

from graphon.model_runtime.entities.llm_entities import LLMResult, LLMResultChunk, LLMResultChunkDelta, LLMUsage
from graphon.model_runtime.entities.message_entities import (
    AssistantPromptMessage,
    PromptMessage,
    SystemPromptMessage,
    UserPromptMessage,
)
from sqlalchemy import select

from core.app.app_config.entities import PromptTemplateEntity
from core.app.apps.base_app_queue_manager import AppQueueManager, PublishFrom
from core.app.entities.app_invoke_entities import (
    AppGenerateEntity,
    EasyUIBasedAppGenerateEntity,
    ModelConfigWithCredentialsEntity,
)
from core.app.entities.queue_entities import QueueAgentMessageEvent, QueueLLMChunkEvent, QueueMessageEndEvent
from core.db.session_factory import session_factory
from core.moderation.input_moderation import InputModeration
from models.model import App, Message


class AppRunner:
    def recalc_llm_max_tokens(
        self, model_config: ModelConfigWithCredentialsEntity, prompt_messages: list[PromptMessage]
    ) -> int:
        return -1

    def organize_prompt_messages(
        self,
        app_record: App,
        model_config: ModelConfigWithCredentialsEntity,
        prompt_template_entity: PromptTemplateEntity,
        inputs: Mapping[str, Any],
        files: Sequence[Any],
        query: str = "",
        context: str | None = None,
        memory: list[PromptMessage] | None = None,
    ) -> tuple[list[PromptMessage], list[str] | None]:
        system = prompt_template_entity.simple_prompt_template or ""
        for name, value in inputs.items():
            system = system.replace("{{" + name + "}}", str(value))
        if context:
            system = f"Use the following context as your learned knowledge:\n{context}\n\n{system}"
        messages: list[PromptMessage] = [SystemPromptMessage(content=system)] if system else []
        messages += memory or []
        if query or not messages:
            messages.append(UserPromptMessage(content=query))
        return messages, list(model_config.stop) or None

    def history(self, conversation_id: str, current_message_id: str) -> list[PromptMessage]:
        """Earlier turns of a conversation, oldest first."""
        with session_factory.create_session() as session:
            rows = session.scalars(
                select(Message)
                .where(Message.conversation_id == conversation_id, Message.id != current_message_id)
                .order_by(Message.created_at.desc())
                .limit(10)
            ).all()
        turns: list[PromptMessage] = []
        for row in reversed(rows):
            if row.answer:
                turns += [UserPromptMessage(content=row.query), AssistantPromptMessage(content=row.answer)]
        return turns

    def direct_output(
        self,
        queue_manager: AppQueueManager,
        app_generate_entity: EasyUIBasedAppGenerateEntity,
        prompt_messages: list[PromptMessage],
        text: str,
        stream: bool,
        usage: LLMUsage | None = None,
    ) -> None:
        model = app_generate_entity.model_conf.model
        if stream:
            for index, token in enumerate(text):
                chunk = LLMResultChunk(
                    model=model,
                    prompt_messages=prompt_messages,
                    delta=LLMResultChunkDelta(index=index, message=AssistantPromptMessage(content=token)),
                )
                queue_manager.publish(QueueLLMChunkEvent(chunk=chunk), PublishFrom.APPLICATION_MANAGER)
        result = LLMResult(
            model=model,
            prompt_messages=prompt_messages,
            message=AssistantPromptMessage(content=text),
            usage=usage or LLMUsage.empty_usage(),
        )
        queue_manager.publish(QueueMessageEndEvent(llm_result=result), PublishFrom.APPLICATION_MANAGER)

    def _handle_invoke_result(
        self,
        invoke_result: LLMResult | Generator[LLMResultChunk, None, None],
        queue_manager: AppQueueManager,
        stream: bool,
        agent: bool = False,
        message_id: str | None = None,
        user_id: str | None = None,
        tenant_id: str | None = None,
    ) -> None:
        if not stream and isinstance(invoke_result, LLMResult):
            self._handle_invoke_result_direct(invoke_result, queue_manager)
        elif stream and isinstance(invoke_result, Generator):
            self._handle_invoke_result_stream(invoke_result, queue_manager, agent, message_id, user_id, tenant_id)
        else:
            raise NotImplementedError(f"unsupported invoke result type: {type(invoke_result)}")

    def _handle_invoke_result_direct(self, invoke_result: LLMResult, queue_manager: AppQueueManager) -> None:
        queue_manager.publish(QueueMessageEndEvent(llm_result=invoke_result), PublishFrom.APPLICATION_MANAGER)

    def _handle_invoke_result_stream(
        self,
        invoke_result: Generator[LLMResultChunk, None, None],
        queue_manager: AppQueueManager,
        agent: bool,
        message_id: str | None = None,
        user_id: str | None = None,
        tenant_id: str | None = None,
    ) -> None:
        model, text, usage = "", "", None
        prompt_messages: Sequence[PromptMessage] = []
        for chunk in invoke_result:
            event = QueueAgentMessageEvent(chunk=chunk) if agent else QueueLLMChunkEvent(chunk=chunk)
            queue_manager.publish(event, PublishFrom.APPLICATION_MANAGER)
            text += chunk.delta.message.get_text_content()
            model = model or chunk.model
            prompt_messages = prompt_messages or chunk.prompt_messages
            usage = chunk.delta.usage or usage
        if agent:
            return
        result = LLMResult(
            model=model,
            prompt_messages=prompt_messages,
            message=AssistantPromptMessage(content=text),
            usage=usage or LLMUsage.empty_usage(),
        )
        queue_manager.publish(QueueMessageEndEvent(llm_result=result), PublishFrom.APPLICATION_MANAGER)

    def moderation_for_inputs(
        self,
        *,
        app_id: str,
        tenant_id: str,
        app_generate_entity: AppGenerateEntity,
        inputs: Mapping[str, Any],
        query: str | None = None,
        message_id: str,
    ) -> tuple[bool, Mapping[str, Any], str]:
        return InputModeration().check(
            app_id=app_id,
            tenant_id=tenant_id,
            app_config=app_generate_entity.app_config,
            inputs=dict(inputs),
            query=query or "",
            message_id=message_id,
            trace_manager=app_generate_entity.trace_manager,
        )
