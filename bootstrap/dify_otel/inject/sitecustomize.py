"""The only file of dify-otel on PYTHONPATH. Import machinery only; `_start` cannot raise.

Runs at the start of every Python process that inherits PYTHONPATH, before gevent could patch anything: a module
imported here keeps its unpatched locks for ever (one early `concurrent.futures.thread` deadlocks Dify's retrieval).
"""

import os
import sys

loaded = False


def _chain(here):
    """Run the sitecustomize that would have run without us. What it raises is its own, as without us."""
    from importlib.machinery import PathFinder

    paths = [p for p in sys.path if os.path.abspath(p or os.curdir) != here]
    spec = PathFinder.find_spec("sitecustomize", paths)
    if spec is None or spec.loader is None:
        return
    from importlib.util import module_from_spec

    ours = sys.modules.pop("sitecustomize", None)
    module = module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    try:
        spec.loader.exec_module(module)
    finally:
        if ours is not None:
            sys.modules["sitecustomize"] = ours


def _begin(here):
    root = os.path.dirname(os.path.dirname(here))
    # From a checkout the two packages live in two source roots; in an installed folder or a zip side by side.
    checkout = os.path.join(os.path.dirname(root), "instrumentors")
    roots = [root, checkout] if os.path.isdir(os.path.join(checkout, "dify_otel_instrumentors")) else [root]
    if not os.path.isdir(os.path.join(root, "dify_otel")):
        roots = []  # in a zip this file lies beside the packages, and the zip is on the path already
    added = [p for p in roots if p not in sys.path]
    sys.path.extend(added)  # behind everything: whatever Dify has wins
    armed = False
    try:
        from dify_otel import start

        armed = start.arm()
    finally:
        if not armed:
            for path in added:
                sys.path.remove(path)


def _start(here):
    global loaded
    try:
        if os.environ.get("DIFY_OTEL_ENABLED", "true").strip().lower() not in ("false", "0", "no", "off"):
            _begin(here)
        loaded = True
    except Exception as error:  # a process must start as if we were not there
        try:
            sys.stderr.write("dify-otel: not started: %s\n" % type(error).__name__)
        except Exception:
            return


_here = os.path.dirname(os.path.abspath(__file__))
try:
    _chain(_here)
finally:
    _start(_here)
