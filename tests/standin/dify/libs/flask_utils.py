"""Carries an application context and every captured contextvar into another thread."""

import contextvars
from collections.abc import Generator
from contextlib import contextmanager

from flask import Flask


@contextmanager
def preserve_flask_contexts(flask_app: Flask, context_vars: contextvars.Context) -> Generator[None, None, None]:
    for variable, value in context_vars.items():
        variable.set(value)
    with flask_app.app_context():
        yield
