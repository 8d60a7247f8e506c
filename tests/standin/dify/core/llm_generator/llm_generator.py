"""Small tasks Dify gives the default model: names, questions, rules, code."""

from collections.abc import Sequence
from typing import Any

from graphon.model_runtime.entities.message_entities import UserPromptMessage
from graphon.model_runtime.entities.model_entities import ModelType

from core.model_manager import ModelManager
from core.ops.ops_trace_manager import TraceQueueManager, TraceTask, TraceTaskName


def _ask(tenant_id: str, prompt: str) -> str:
    instance = ModelManager.for_tenant(tenant_id).get_default_model_instance(
        tenant_id=tenant_id, model_type=ModelType.LLM
    )
    result = instance.invoke_llm(
        prompt_messages=[UserPromptMessage(content=prompt)],
        model_parameters={"max_tokens": 500, "temperature": 1},
        stream=False,
    )
    return result.message.get_text_content()  # type: ignore[union-attr]


class LLMGenerator:
    @classmethod
    def generate_conversation_name(
        cls, tenant_id: str, query: str, conversation_id: str | None = None, app_id: str | None = None
    ) -> str:
        name = _ask(tenant_id, f"Name this conversation: {query[:2000]}")[:75]
        TraceQueueManager(app_id=app_id).add_trace_task(
            TraceTask(TraceTaskName.GENERATE_NAME_TRACE, conversation_id=conversation_id, tenant_id=tenant_id)
        )
        return name

    @classmethod
    def generate_suggested_questions_after_answer(
        cls,
        tenant_id: str,
        histories: str,
        *,
        instruction_prompt: str | None = None,
        model_config: object | None = None,
    ) -> Sequence[str]:
        answer = _ask(tenant_id, f"{instruction_prompt or 'Suggest questions'}\n{histories}")
        return [part for part in answer.split(". ") if part][:3]

    @classmethod
    def generate_rule_config(cls, tenant_id: str, args: Any) -> dict[str, str]:
        return {"prompt": _ask(tenant_id, str(args)), "error": ""}

    @classmethod
    def generate_code(cls, tenant_id: str, args: Any) -> dict[str, str]:
        return {"code": _ask(tenant_id, str(args)), "language": "python", "error": ""}

    @classmethod
    def generate_qa_document(cls, tenant_id: str, query: str, document_language: str) -> str:
        return _ask(tenant_id, f"{document_language}: {query}")

    @classmethod
    def generate_structured_output(cls, tenant_id: str, args: Any) -> dict[str, str]:
        return {"output": _ask(tenant_id, str(args)), "error": ""}

    @staticmethod
    def instruction_modify_legacy(
        tenant_id: str,
        flow_id: str,
        current: str,
        instruction: str,
        model_config: Any,
        ideal_output: str | None,
    ) -> dict[str, str]:
        return {"modified": _ask(tenant_id, instruction), "message": ""}

    @staticmethod
    def instruction_modify_workflow(
        tenant_id: str,
        flow_id: str,
        node_id: str,
        current: str,
        instruction: str,
        model_config: Any,
        ideal_output: str | None,
        workflow_service: Any,
    ) -> dict[str, str]:
        return {"modified": _ask(tenant_id, instruction), "message": ""}

    @classmethod
    def generate_workflow_instruction_suggestions(
        cls, tenant_id: str, *, mode: str, language: str | None = None, count: int = 4
    ) -> list[str]:
        return _ask(tenant_id, f"Suggest {count} for {mode}").split()[:count]
