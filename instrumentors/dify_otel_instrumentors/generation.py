"""What Dify asks a model for on its own account: names, questions, prompts, code. The model call nests below."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from . import app, shapes
from .core.operation import Content, Operation

_OPERATIONS = {
    "generate_rule_config": "rule_config",
    "generate_code": "code",
    "generate_structured_output": "structured_output",
    "generate_qa_document": "qa_document",
    "instruction_modify_legacy": "instruction_modify",
    "instruction_modify_workflow": "instruction_modify",
    "generate_workflow_instruction_suggestions": "workflow_instruction",
    "generate_workflow_graph": "workflow_graph",
    "generate_workflow_graph_stream": "workflow_graph",
}


def _event(call: Any, item: Any) -> None:
    if isinstance(item, tuple) and len(item) == 2 and item[0] == "result":
        call.state["result"] = item[1]


def _result(call: Any, result: Any) -> Iterator[Any]:
    if result is None:
        result = call.state.get("result")
    if result is not None:
        yield "dify.generation.output", Content(result)
    if isinstance(result, Mapping) and result.get("error"):
        yield "dify.generation.error", Content(result.get("error"))


def prompt_generation(function: str) -> Operation:
    """The operation for one of `LLMGenerator`'s generators, or of the one that draws workflows."""
    word = _OPERATIONS[function]

    def before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
        yield "dify.prompt_generation.operation_type", word
        yield "dify.tenant_id", shapes.word(arguments.get("tenant_id"))
        asked = arguments.get("instruction") or getattr(arguments.get("args"), "instruction", None)
        yield "dify.generation.input", Content(asked if asked is not None else arguments.get("query"))

    return Operation(
        concept="generation",
        name=lambda facts: f"prompt_generation {word}",
        before=before,
        during=_event,
        after=_result,
        span_kind="CHAIN",
    )


def _questions_before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
    app_model = arguments.get("app_model")
    yield "dify.app_id", shapes.word(shapes.column(app_model, "id"))
    yield "dify.app.name", shapes.word(shapes.column(app_model, "name"))
    message_id = shapes.word(arguments.get("message_id"))
    yield "dify.message.id", message_id
    made = app.recent(message_id)
    if made and (enclosing is None or enclosing.operation.concept != "suggested-questions"):
        yield "links", [made]
    yield "dify.tenant_id", shapes.word(arguments.get("tenant_id"))


def _questions_after(call: Any, result: Any) -> Iterator[Any]:
    if isinstance(result, list | tuple):
        yield "dify.suggested_question.count", len(result)
        yield "dify.suggested_question.questions", Content(result)


SUGGESTED_QUESTIONS = Operation(
    concept="suggested-questions",
    name=lambda facts: f"suggested_questions {facts.get('dify.app.name') or ''}".rstrip(),
    before=_questions_before,
    after=_questions_after,
    span_kind="CHAIN",
    merge=True,
)


def _conversation_before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
    yield "gen_ai.conversation.id", shapes.word(arguments.get("conversation_id") or None)
    yield "dify.tenant_id", shapes.word(arguments.get("tenant_id"))
    yield "dify.app_id", shapes.word(arguments.get("app_id") or None)
    yield "dify.generation.input", Content(arguments.get("query"))


CONVERSATION_NAME = Operation(
    concept="conversation-name",
    name=lambda facts: "conversation_name",
    before=_conversation_before,
    after=_result,
    span_kind="CHAIN",
)
