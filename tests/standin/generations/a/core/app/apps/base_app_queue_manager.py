import queue


class AppQueueManager:
    def __init__(self, task_id, user_id, invoke_from):
        self._task_id = task_id
        self._user_id = user_id
        self._invoke_from = invoke_from
        self._q: queue.Queue = queue.Queue()

    def publish(self, event, pub_from=None) -> None:
        self._q.put(event)

    def stop_listen(self) -> None:
        self._q.put(None)

    def listen(self):
        while (event := self._q.get(timeout=30)) is not None:
            yield event
