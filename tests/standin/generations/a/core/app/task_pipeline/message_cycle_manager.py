from threading import Thread

from core.llm_generator.llm_generator import LLMGenerator


class MessageCycleManager:
    def __init__(self, *, application_generate_entity, task_state):
        self._application_generate_entity = application_generate_entity
        self.name = ""

    def generate_conversation_name(self, *, conversation_id, query):
        thread = Thread(
            target=self._generate_conversation_name_worker,
            kwargs={"flask_app": None, "conversation_id": conversation_id, "query": query},
        )
        thread.start()
        return thread

    def _generate_conversation_name_worker(self, flask_app, conversation_id, query):
        self.name = LLMGenerator.generate_conversation_name("tenant-1", query, conversation_id, "app-1")
