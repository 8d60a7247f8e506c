from core.model_manager import ModelInstance, bundle
from core.model_runtime.entities.llm_entities import PromptMessage


def _ask(tenant_id, text):
    result = ModelInstance(bundle(tenant_id), "stub-chat").invoke_llm([PromptMessage("user", text)], stream=False)
    return result.message.content


class LLMGenerator:
    @classmethod
    def generate_conversation_name(cls, tenant_id, query, conversation_id=None, app_id=None):
        return _ask(tenant_id, query)

    @classmethod
    def generate_suggested_questions_after_answer(cls, tenant_id, histories):
        return _ask(tenant_id, histories).split()

    @classmethod
    def generate_rule_config(cls, tenant_id, instruction, model_config, no_variable):
        return {"prompt": _ask(tenant_id, "rule")}

    @classmethod
    def generate_code(cls, tenant_id, instruction, model_config, code_language="javascript"):
        return {"code": _ask(tenant_id, "code")}

    @classmethod
    def generate_qa_document(cls, tenant_id, query, document_language):
        return _ask(tenant_id, query)

    @classmethod
    def generate_structured_output(cls, tenant_id, instruction, model_config):
        return {"output": _ask(tenant_id, "schema")}
