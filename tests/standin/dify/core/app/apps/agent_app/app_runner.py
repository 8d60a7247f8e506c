"""One turn of an agent application: a run in the agent backend, whose events are relayed to the queue."""

from types import SimpleNamespace
from typing import Any

from graphon.model_runtime.entities.llm_entities import LLMResult, LLMResultChunk, LLMResultChunkDelta, LLMUsage
from graphon.model_runtime.entities.message_entities import AssistantPromptMessage, UserPromptMessage

from clients.agent_backend.client import AgentBackendError, DifyAgentBackendRunClient
from core.app.apps.base_app_queue_manager import AppQueueManager, PublishFrom
from core.app.entities.app_invoke_entities import DifyRunContext
from core.app.entities.queue_entities import QueueAgentMessageEvent, QueueMessageEndEvent
from dify_agent.protocol import CreateRunRequest, PydanticAIStreamRunEvent, RunFailedEvent, RunSucceededEvent


class AgentAppRunner:
    def __init__(self, *, agent_backend_client: DifyAgentBackendRunClient) -> None:
        self._agent_backend_client = agent_backend_client

    def run(
        self,
        *,
        dify_context: DifyRunContext,
        agent_id: str,
        agent_config_snapshot_id: str,
        agent_config_version_kind: str = "snapshot",
        agent_soul: SimpleNamespace,
        conversation_id: str,
        query: str,
        message_id: str,
        model_name: str,
        queue_manager: AppQueueManager,
        session_scope_snapshot_id: str | None = None,
        agent_runtime_exit_intent: str = "suspend",
    ) -> None:
        request = CreateRunRequest(
            composition={"model": model_name, "query": query, "provider": agent_soul.model.model_provider},
            idempotency_key=message_id,
        )
        created = self._agent_backend_client.create_run(request)
        prompt = [UserPromptMessage(content=query)]
        terminal: Any = None
        for event in self._agent_backend_client.stream_events(created.run_id):
            if isinstance(event, PydanticAIStreamRunEvent):
                if event.agent_message_delta:
                    message = AssistantPromptMessage(content=event.agent_message_delta)
                    delta = LLMResultChunkDelta(index=0, message=message)
                    chunk = LLMResultChunk(model=model_name, prompt_messages=prompt, delta=delta)
                    queue_manager.publish(QueueAgentMessageEvent(chunk=chunk), PublishFrom.APPLICATION_MANAGER)
            elif isinstance(event, RunSucceededEvent | RunFailedEvent):
                terminal = event
                break
        if not isinstance(terminal, RunSucceededEvent):
            raise AgentBackendError(terminal.data.error if terminal else "Agent backend run did not complete.")
        used = terminal.data.usage
        result = LLMResult(
            model=model_name,
            prompt_messages=prompt,
            message=AssistantPromptMessage(content=str(terminal.data.output)),
            usage=LLMUsage.from_metadata(used.model_dump()) if used else LLMUsage.empty_usage(),  # type: ignore[arg-type]
        )
        queue_manager.publish(QueueMessageEndEvent(llm_result=result), PublishFrom.APPLICATION_MANAGER)
