from extensions.otel.context import propagate_context
from extensions.otel.decorators.base import trace_span
from extensions.otel.decorators.handler import SpanHandler
from extensions.otel.decorators.handlers.generate_handler import AppGenerateHandler
from extensions.otel.decorators.handlers.workflow_app_runner_handler import WorkflowAppRunnerHandler

__all__ = ["AppGenerateHandler", "SpanHandler", "WorkflowAppRunnerHandler", "propagate_context", "trace_span"]
