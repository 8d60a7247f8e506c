import contextvars
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def preserve_flask_contexts(flask_app, context_vars: contextvars.Context) -> Generator[None, None, None]:
    for variable, value in context_vars.items():
        variable.set(value)
    yield
