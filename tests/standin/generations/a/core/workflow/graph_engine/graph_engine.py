"""The recursive engine of 1.6.0-1.8.1: nodes run inline, parallel branches in a pool which copies the context."""

import contextvars
from concurrent.futures import ThreadPoolExecutor

from core.workflow.graph_engine.entities.event import (
    GraphRunFailedEvent,
    GraphRunStartedEvent,
    GraphRunSucceededEvent,
)
from core.workflow.nodes.event.event import RunCompletedEvent


class GraphEngine:
    def __init__(self, nodes, graph_runtime_state):
        self.nodes = nodes
        self.graph_runtime_state = graph_runtime_state

    def run(self):
        yield GraphRunStartedEvent()
        outputs = {}
        for group in self.nodes:
            for result in self._group(group):
                self.graph_runtime_state.node_run_steps += 1
                if result.llm_usage:
                    self.graph_runtime_state.total_tokens += result.llm_usage.total_tokens
                if result.error:
                    yield GraphRunFailedEvent(error=result.error)
                    return
                outputs = dict(result.outputs or {})
        yield GraphRunSucceededEvent(outputs=outputs)

    def _group(self, group):
        if len(group) == 1:
            yield from self._run_node(group[0])
            return
        with ThreadPoolExecutor() as pool:
            context = contextvars.copy_context()
            futures = [pool.submit(self._in_context, context.copy(), node) for node in group]
            for future in futures:
                yield from future.result()

    def _in_context(self, context, node):
        for variable, value in context.items():
            variable.set(value)
        return list(self._run_node(node))

    def _run_node(self, node):
        for event in node.run():
            if isinstance(event, RunCompletedEvent):
                yield event.run_result
