"""When: which processes become instrumented, and the order in which it happens.

Nothing may be imported before gevent has patched, nothing may start before the last fork, and Dify's own telemetry
decides first. So `arm` only registers an import finder; when Dify's application factory is imported (by then gevent has
patched) the seams are hooked, and when its extensions are initialised the SDK starts, once a process.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing alone costs a process that is none of our business several milliseconds
    from types import ModuleType
    from typing import Any

READY_MODULE = "app_factory"
READY_FUNCTION = "initialize_extensions"

OFF = ("false", "0", "no", "off")


class State:
    """What this process has been through; read by the doctor."""

    armed_in: int | None = None
    program: str = ""
    role: str | None = None
    door: str = ""
    hooked = False
    sdk: Any = None
    app: Any = None


def program(argv: list[str]) -> tuple[str, list[str]]:
    """The program's name and its arguments, of an interpreter's own command line (`sys.orig_argv`)."""
    takes_value = {"-W", "-X", "--check-hash-based-pycs"}
    i = 1
    while i < len(argv):
        word = argv[i]
        if word == "-m" and i + 1 < len(argv):
            return argv[i + 1], argv[i + 2 :]
        if word == "-c" or word == "-":
            return word, argv[i + 1 :]
        if word.startswith("-m") and not word.startswith("--"):
            return word[2:], argv[i + 1 :]
        if word in takes_value:
            i += 2
        elif word.startswith("-"):
            i += 1
        else:
            return os.path.basename(word), argv[i + 1 :]
    return "", []


def role_of(name: str, arguments: list[str]) -> str | None:
    """`api`, `worker`, `beat`, `job`, or None when the process is not one of Dify's that we watch."""
    if name in ("gunicorn", "gunicorn.app.wsgiapp"):
        return "api"
    if name == "celery":
        if "worker" in arguments:
            return "worker"
        return "beat" if "beat" in arguments else None
    if name in ("app", "app.py"):
        return "api"
    if name == "flask":
        command = next((a for a in _flask_words(arguments)), None)
        if command is None or command in ("db", "upgrade-db"):  # migrations stay untouched
            return None
        return "api" if command == "run" else "job"
    return None


def _flask_words(arguments: list[str]) -> list[str]:
    words, skip = [], False
    for word in arguments:
        if skip:
            skip = False
        elif word in ("-A", "--app", "-e", "--env-file"):
            skip = True
        elif not word.startswith("-"):
            words.append(word)
    return words


def arm() -> bool:
    """Register for Dify's application factory, if this process is one to watch. Imports only import machinery."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    name, arguments = program(list(getattr(sys, "orig_argv", ())))
    role = role_of(name, arguments)
    if role is None or State.armed_in is not None:
        return False
    if sys.version_info < (3, 11):  # noqa: UP036 - PYTHONPATH reaches interpreters that pip never asked
        from dify_otel import notice

        notice.line("dify-otel: not started: it needs Python 3.11 or newer")
        return False
    State.program, State.role, State.armed_in = name, role, os.getpid()
    State.door = "opentelemetry-instrument" if os.environ.get("DIFY_OTEL_REEXEC") else "sitecustomize"
    sys.meta_path.insert(0, _Threshold())
    return True


class _Threshold:
    """Sees Dify's application factory about to be imported, and hands over to the seams' own finder.

    It stays where it is: the import system is iterating over `sys.meta_path` while it is asked.
    """

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname != READY_MODULE or State.hooked:
            return None
        try:
            hook()
        except Exception:  # Dify's import would fail with it
            return None
        hooks = sys.modules.get("dify_otel_instrumentors.core.hooks")
        return hooks.find_spec(fullname, path, target) if hooks is not None else None


def hook() -> None:
    """Dify is being imported: hook the seams and the moment its extensions are ready. Never raises."""
    if State.hooked:
        return
    State.hooked = True
    try:
        from dify_otel_instrumentors import seams
        from dify_otel_instrumentors.core import hooks

        from dify_otel import settings

        chosen = settings.current()
        if not chosen.enabled:
            return
        hooks.apply(seams.SEAMS, chosen.seams_disabled)
        from dify_otel import ownership, propagation

        ownership.hook(chosen)
        propagation.hook()
        hooks.after_import(READY_MODULE, _ready_hook)
    except Exception as error:
        from dify_otel import notice

        notice.line(f"dify-otel: not started: {type(error).__name__}")


def _ready_hook(module: ModuleType) -> None:
    original = getattr(module, READY_FUNCTION, None)
    if original is None:
        raise AttributeError(f"{READY_MODULE}.{READY_FUNCTION}")
    import functools

    @functools.wraps(original)
    def initialize_extensions(app: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(app, *args, **kwargs)
        try:
            ready(app)
        except Exception as error:
            from dify_otel import notice

            notice.line(f"dify-otel: not started: {type(error).__name__}")
        return result

    setattr(module, READY_FUNCTION, initialize_extensions)


def ready(app: Any) -> None:
    """Dify's extensions are initialised: start the SDK here, or in each child if this process will fork."""
    from dify_otel_instrumentors.core import guard

    try:
        State.app = app
        if State.role == "worker" and _prefork(sys.argv):
            # Every child gets its own exporter; a gRPC channel must not be carried over a fork.
            from celery.signals import worker_process_init

            from dify_otel import settings, standard

            # Celery kills a child that is not up within four seconds: what a child needs is imported before the fork.
            with standard.environment(settings.current()):
                from dify_otel import sdk

                sdk.preload(settings.current())
            worker_process_init.connect(_in_child, weak=False)
            return
        if State.program.startswith("gunicorn") and State.armed_in == os.getpid():
            # --preload: the application lives in the arbiter, which forks its workers from here.
            os.register_at_fork(after_in_child=_after_fork)
            return
        start_sdk()
    except Exception:
        guard.failed("start.ready")


def _prefork(argv: list[str]) -> bool:
    for i, word in enumerate(argv):
        if word in ("-P", "--pool") and i + 1 < len(argv):
            return argv[i + 1] in ("prefork", "processes")
        if word.startswith("--pool="):
            return word[7:] in ("prefork", "processes")
        if word.startswith("-P") and len(word) > 2:
            return word[2:] in ("prefork", "processes")
    return True  # Celery's own default


def _in_child(**_: Any) -> None:
    from dify_otel_instrumentors.core import guard

    try:
        start_sdk()
    except Exception:
        guard.failed("start.child")


def _after_fork() -> None:
    # Still before gevent patches this worker: start when the first request arrives.
    app = State.app
    State.sdk = None
    inner = app.wsgi_app

    def first(environ: Any, start_response: Any) -> Any:
        app.wsgi_app = inner
        _in_child()
        return app.wsgi_app(environ, start_response)

    app.wsgi_app = first


def start_sdk() -> None:
    """Start exporting in this process; the second call in a process does nothing."""
    if State.sdk is not None and State.sdk.pid == os.getpid():
        return
    from dify_otel import settings, standard

    with standard.environment(settings.current()):
        from dify_otel import sdk

        State.sdk = sdk.start(settings.current(), State.role or "api", State.app)
