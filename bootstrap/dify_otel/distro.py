"""The same start for `opentelemetry-instrument`: the distro and configurator named `dify`.

`opentelemetry-instrument` has imported threading, ssl and concurrent.futures by the time it loads a distro, which
deadlocks Dify under gevent. When its sitecustomize loads ours, nothing of the program itself has run, so the process
starts over in the same pid with our injection folder on PYTHONPATH in place of OpenTelemetry's. Costs one interpreter
start.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

from opentelemetry.instrumentation.distro import BaseDistro  # type: ignore[attr-defined, unused-ignore]
from opentelemetry.sdk._configuration import _BaseConfigurator

from dify_otel import notice, start

MARK = "DIFY_OTEL_REEXEC"
"""Set to the pid that started over: seen again with the same pid, it means a loop."""
_SELECTORS = ("OTEL_PYTHON_DISTRO", "OTEL_PYTHON_CONFIGURATOR")


def environment(environ: dict[str, str], inject: str, auto_instrumentation: str) -> dict[str, str]:
    """The environment to start over with."""
    new = dict(environ)
    paths = [p for p in environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    paths = [p for p in paths if os.path.abspath(p) not in (auto_instrumentation, inject)]
    new["PYTHONPATH"] = os.pathsep.join([inject, *paths])
    for name in _SELECTORS:
        if new.get(name) == "dify":
            del new[name]
    new[MARK] = str(os.getpid())
    return new


def start_over() -> None:
    """Replace this process by itself, instrumented in the right order; return where that is impossible or needless."""
    if os.environ.get("DIFY_OTEL_ENABLED", "true").strip().lower() in start.OFF:
        return
    if os.environ.get(MARK) == str(os.getpid()) or start.State.armed_in is not None:
        return
    argv = list(getattr(sys, "orig_argv", ()))
    name, arguments = start.program(argv)
    if start.role_of(name, arguments) is None or name in ("-c", "-", ""):
        return
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and getattr(monkey, "saved", None):
        return  # already patched: too late to begin again, and somebody meant it
    from opentelemetry.instrumentation import auto_instrumentation  # type: ignore[attr-defined, unused-ignore]

    inject = os.path.join(os.path.dirname(os.path.abspath(start.__file__)), "inject")
    theirs = os.path.dirname(os.path.abspath(auto_instrumentation.__file__))
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # closed, or its disk is full
            stream.flush()
    os.execve(sys.executable, argv, environment(dict(os.environ), inject, theirs))


class DifyDistro(BaseDistro):  # type: ignore[misc, unused-ignore]
    """Loaded by OpenTelemetry's own sitecustomize. Loads no other instrumentation: Dify's are ours to choose."""

    def _configure(self, **kwargs: Any) -> None:
        try:
            start_over()
        except Exception as error:
            notice.line(f"dify-otel: opentelemetry-instrument door failed: {type(error).__name__}")

    def load_instrumentor(self, entry_point: Any, **kwargs: Any) -> None:
        """Nothing: instrumentations start after Dify's extensions, in `infra`."""


class DifyConfigurator(_BaseConfigurator):
    """Configures nothing here: the SDK starts after Dify's extensions, in `start.ready`."""

    def _configure(self, **kwargs: Any) -> None:
        return None
