from core.llm_generator.llm_generator import LLMGenerator


class MessageService:
    @classmethod
    def get_suggested_questions_after_answer(cls, app_model, user, message_id, invoke_from):
        return LLMGenerator.generate_suggested_questions_after_answer(app_model.tenant_id, "Human: hello")
