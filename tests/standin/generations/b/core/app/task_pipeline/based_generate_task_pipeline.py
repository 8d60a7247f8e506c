import time

from models.model import Message


class BasedGenerateTaskPipeline:
    def __init__(self, application_generate_entity, queue_manager, stream):
        self._application_generate_entity = application_generate_entity
        self.queue_manager = queue_manager
        self.start_at = time.perf_counter()
        self.stream = stream

    def handle_error(self, *, event, session=None, message_id=""):
        error = event.error
        if session is not None and message_id:
            message = session.get(Message, message_id)
            message.status = "error"
            message.error = str(error)
        return error
