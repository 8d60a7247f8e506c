"""Captures the Flask application and every contextvar of the caller, and sets them again in a worker thread."""

import contextvars
import threading
from typing import Any

from flask import Flask, current_app

from context.execution_context import IExecutionContext, register_context_capturer


class FlaskExecutionContext:
    def __init__(self, flask_app: Flask, context_vars: contextvars.Context, user: Any = None) -> None:
        self._flask_app = flask_app
        self._context_vars = context_vars
        self._user = user
        # One object serves all worker threads of an engine.
        self._local = threading.local()

    @property
    def context_vars(self) -> contextvars.Context:
        return self._context_vars

    @property
    def user(self) -> Any:
        return self._user

    def __enter__(self) -> "FlaskExecutionContext":
        for variable, value in self._context_vars.items():
            variable.set(value)
        app_context = self._flask_app.app_context()
        app_context.push()
        stack = getattr(self._local, "stack", None)
        if stack is None:
            stack = self._local.stack = []
        stack.append(app_context)
        return self

    def __exit__(self, *args: Any) -> None:
        self._local.stack.pop().pop(args[1] if len(args) > 1 else None)


def capture_flask_context(user: Any = None) -> IExecutionContext:
    return FlaskExecutionContext(current_app._get_current_object(), contextvars.copy_context(), user)  # type: ignore[attr-defined]


def init_flask_context() -> None:
    register_context_capturer(capture_flask_context)
