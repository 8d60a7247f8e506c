"""The queue engine: worker threads enter the context which was current when the engine was made."""

import contextvars

from core.workflow.graph_engine.worker import Worker
from core.workflow.graph_events import (
    GraphRunFailedEvent,
    GraphRunStartedEvent,
    GraphRunSucceededEvent,
    NodeRunFailedEvent,
)


class GraphEngine:
    def __init__(self, nodes, graph_runtime_state):
        self.nodes = nodes
        self.graph_runtime_state = graph_runtime_state
        self._context_vars = contextvars.copy_context()

    def run(self):
        yield GraphRunStartedEvent()
        outputs = {}
        for group in self.nodes:
            events: list = []
            workers = [Worker(node, self._context_vars, events) for node in group]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            for event in events:
                yield event
                result = event.node_run_result
                if isinstance(event, NodeRunFailedEvent):
                    yield GraphRunFailedEvent(error=event.error)
                    return
                if result.outputs is not None:
                    outputs = dict(result.outputs)
                    self.graph_runtime_state.node_run_steps += 1
                    if result.llm_usage:
                        self.graph_runtime_state.total_tokens += result.llm_usage.total_tokens
        yield GraphRunSucceededEvent(outputs=outputs)
