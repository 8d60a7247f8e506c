import contextvars
import threading


class Worker(threading.Thread):
    """Runs nodes in a thread of its own, in the context of the engine. Overrides `run`, as Dify's does."""

    def __init__(self, node, context_vars: contextvars.Context, events: list):
        super().__init__(name="GraphWorker-0", daemon=True)
        self._node = node
        self._context_vars = context_vars
        self._events = events

    def run(self):
        for variable, value in self._context_vars.items():
            variable.set(value)
        self._execute_node(self._node)

    def _execute_node(self, node):
        for event in node.run():
            self._events.append(event)
