"""Applies and undoes seams: one import finder, guarded post-import hooks, and what became of each target.

Importing Dify's modules early would load half the standard library before gevent can patch it, so every seam waits for
its module. A hook that raised would make Dify's own import fail; none can. Imports the standard library's import
machinery only: this module is loaded while Dify is being imported.
"""

from __future__ import annotations

import functools
import importlib.machinery
import sys
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any

from . import guard
from .operation import Operation, Seam, Tap

MARK = "__dify_otel__"


class Outcome:
    """What became of one target: `waiting`, `on`, `absent`, `foreign` or `failed`."""

    __slots__ = ("detail", "state", "target")

    def __init__(self, target: str) -> None:
        self.target = target
        self.state = "waiting"
        self.detail = ""


class _Finder:
    """Finds nothing itself: lets the others find, and runs our hooks after the module has been executed."""

    # No subclass of importlib.abc's: that imports tempfile, pathlib, inspect, urllib, before gevent has patched.

    def __init__(self) -> None:
        self.hooks: dict[str, list[Callable[[Any], None]]] = {}
        self._finding: set[str] = set()

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self.hooks or fullname in self._finding:
            return None
        self._finding.add(fullname)
        try:
            for finder in sys.meta_path:
                if finder is self:
                    continue
                find = getattr(finder, "find_spec", None)
                spec: importlib.machinery.ModuleSpec | None = find(fullname, path, target) if find else None
                if spec is not None:
                    try:
                        if spec.loader is not None and hasattr(spec.loader, "exec_module"):
                            spec.loader = _Loader(spec.loader, fullname, self)  # type: ignore[assignment]
                    except Exception:
                        guard.failed(f"hook {fullname}")
                    return spec
            return None
        finally:
            self._finding.discard(fullname)

    def ran(self, name: str, module: Any) -> None:
        while name in self.hooks:  # a hook may add another one
            for hook in self.hooks.pop(name):
                try:
                    hook(module)
                except Exception:
                    guard.failed(f"hook {name}")


class _Loader:
    """The found loader, with our hooks after it; the module keeps its own loader and spec as without us."""

    def __init__(self, loader: Any, name: str, finder: _Finder) -> None:
        self._loader = loader
        self._name = name
        self._finder = finder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        try:
            module.__loader__ = self._loader
            if module.__spec__ is not None:
                module.__spec__.loader = self._loader
        except Exception:
            guard.failed("hooks.loader")
        self._loader.exec_module(module)
        try:
            self._finder.ran(self._name, sys.modules.get(self._name, module))
        except Exception:
            guard.failed(f"hook {self._name}")


_finder = _Finder()
_applied: list[tuple[Any, str, Any]] = []
outcomes: dict[str, list[Outcome]] = {}
"""What became of each seam, by seam name."""


def find_spec(fullname: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
    """The spec of a module that has hooks, for a finder that stands in for ours; None for any other."""
    return _finder.find_spec(fullname, path, target)


def after_import(module: str, hook: Callable[[Any], None]) -> None:
    """Run `hook(module)` once the module has been imported; at once if it has been."""
    loaded = sys.modules.get(module)
    if loaded is not None and not getattr(getattr(loaded, "__spec__", None), "_initializing", False):
        try:
            hook(loaded)
        except Exception:
            guard.failed(f"hook {module}")
        return
    _finder.hooks.setdefault(module, []).append(hook)
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def apply(seams: Iterable[Seam], disabled: frozenset[str] = frozenset()) -> None:
    """Wrap every target of every seam when its module is imported."""
    for seam in seams:
        if seam.name in disabled or seam.name.split(".")[0] in disabled:
            continue
        for target in seam.targets:
            outcome = Outcome(target)
            outcomes.setdefault(seam.name, []).append(outcome)
            module, _, path = target.partition(":")
            after_import(module, _hook(seam, path, outcome))


def _hook(seam: Seam, path: str, outcome: Outcome) -> Callable[[Any], None]:
    def hook(module: Any) -> None:
        try:
            _wrap(module, path, seam, outcome)
        except Exception as error:
            outcome.state, outcome.detail = "failed", type(error).__name__
            guard.failed(f"seam {seam.name}")

    return hook


def _wrap(module: Any, path: str, seam: Seam, outcome: Outcome) -> None:
    *parents, name = path.split(".")
    owner = module
    for parent in parents:
        owner = getattr(owner, parent, None)
        if owner is None:
            outcome.state = "absent"
            return
    # The raw descriptor: fetched with getattr, a classmethod or staticmethod would lose its kind.
    raw = vars(owner).get(name)
    if raw is None:
        outcome.state = "absent"
        return
    # Asked of the type: the proxies of other agents (wrapt) claim to be what they wrap.
    kind: type | None = next((k for k in (classmethod, staticmethod) if issubclass(type(raw), k)), None)
    function = raw if kind is None else raw.__func__
    if hasattr(function, MARK):
        outcome.state = "on"
        return
    if kind is None and isinstance(owner, type) and type(raw) is not FunctionType:
        kind, function = _unbound(raw, owner)
    wrapped = _wrapping(function, seam)
    if kind is not None:
        wrapped = kind(wrapped)
    setattr(owner, name, wrapped)
    _applied.append((owner, name, raw))
    outcome.state = "on"


def _unbound(raw: Any, owner: type) -> tuple[type | None, Any]:
    """Another agent's descriptor as a function that calls it bound, as Dify would, and the kind of method it is."""
    inner = raw
    while not issubclass(type(inner), classmethod | staticmethod | FunctionType) and hasattr(inner, "__wrapped__"):
        inner = inner.__wrapped__
    kind = next((k for k in (classmethod, staticmethod) if issubclass(type(inner), k)), None)

    def call_static(*args: Any, **kwargs: Any) -> Any:
        return raw.__get__(None, owner)(*args, **kwargs)

    def call_class(cls: Any, *args: Any, **kwargs: Any) -> Any:
        return raw.__get__(None, cls)(*args, **kwargs)

    def call_method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return raw.__get__(self, type(self))(*args, **kwargs)

    call = call_static if kind is staticmethod else call_class if kind is classmethod else call_method
    return kind, functools.update_wrapper(call, inner.__func__ if kind is not None else inner)


def _wrapping(function: Any, seam: Seam) -> Any:
    # Loaded at the first seam, when gevent has patched: it imports OpenTelemetry's API.
    from . import wrapper

    if isinstance(seam.does, Operation):
        return wrapper.instrument(function, seam.does)
    if isinstance(seam.does, Tap):
        return wrapper.tap(function, seam.does)
    replacement = seam.does(function)
    if replacement is not function:
        setattr(replacement, MARK, function)
    return replacement


def undo() -> None:
    """Put every wrapped function back and forget the hooks."""
    while _applied:
        owner, name, raw = _applied.pop()
        setattr(owner, name, raw)
    _finder.hooks.clear()
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)
    outcomes.clear()
