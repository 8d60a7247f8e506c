from context.execution_context import IExecutionContext, capture_current_context, register_context_capturer

__all__ = ["IExecutionContext", "capture_current_context", "register_context_capturer"]
