"""Seams are wrapped whatever the order of importing and hooking, and undoing puts the very same objects back."""

from __future__ import annotations

import importlib
import itertools
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import wrapt
from dify_otel_instrumentors.core import hooks
from dify_otel_instrumentors.core.operation import Operation, Seam, Tap

_fresh = itertools.count()

SOURCE = """
    import functools
    import typing

    def traced(function):
        @functools.wraps(function)
        def inner(*args, **kwargs):
            return function(*args, **kwargs)
        inner.decorated_by = "dify"
        return inner

    class Base:
        def inherited(self):
            return "inherited"

    class Engine(Base):
        def method(self, a, b=2):
            return ("method", a, b)

        @classmethod
        def classy(cls, a):
            return (cls.__name__, a)

        @staticmethod
        def static(a):
            return ("static", a)

        @traced
        def decorated(self, a):
            return ("decorated", a)

        @classmethod
        @traced
        def decorated_class(cls, a):
            return (cls.__name__, a)

        @typing.overload
        def overloaded(self, a: int) -> int: ...
        @typing.overload
        def overloaded(self, a: str) -> str: ...
        def overloaded(self, a):
            return ("overloaded", a)

        def stream(self, n):
            for i in range(n):
                yield i

        class Inner:
            def deep(self):
                return "deep"

    class Child(Engine):
        pass

    def function(a):
        return ("function", a)
"""
NAMES = (
    "Engine.method",
    "Engine.classy",
    "Engine.static",
    "Engine.decorated",
    "Engine.decorated_class",
    "Engine.overloaded",
    "Engine.stream",
    "Engine.Inner.deep",
    "function",
)


def use(module: Any) -> list[Any]:
    engine = module.Engine()
    return [
        engine.method(1),
        engine.method(1, b=3),
        module.Engine.method(engine, a=4),
        module.Engine.classy(5),
        engine.classy(6),
        module.Child.classy(7),
        module.Child().static(8),
        module.Engine.static(9),
        engine.decorated(10),
        module.Child.decorated_class(11),
        engine.overloaded("x"),
        list(engine.stream(3)),
        module.Engine.Inner().deep(),
        engine.inherited(),
        module.function(12),
    ]


CALLS = 14  # of those in `use`, all but the inherited one


def raws(module: Any) -> dict[str, Any]:
    found = {}
    for path in NAMES:
        *parents, name = path.split(".")
        owner = module
        for parent in parents:
            owner = getattr(owner, parent)
        found[path] = vars(owner)[name]
    return found


OPERATION = Operation(concept="thing", name=lambda facts: "thing", before=lambda arguments, enclosing: ())


def seams(module: str, *names: str, does: Any = OPERATION) -> list[Seam]:
    return [Seam(name, does, (f"{module}:{name}",)) for name in names]


def states() -> dict[str, list[str]]:
    return {name: [o.state for o in found] for name, found in hooks.outcomes.items()}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: Any) -> Iterator[Callable[..., str]]:
    """Writes a module, gives its name; nothing of it is left afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made: list[str] = []

    def write(source: str = SOURCE) -> str:
        name = f"shaped_{next(_fresh)}"
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        importlib.invalidate_caches()
        made.append(name)
        return name

    yield write
    hooks.undo()
    assert not any("dify_otel" in type(finder).__module__ for finder in sys.meta_path)
    for name in made:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("order", ["hook first", "import first"])
def test_order_does_not_matter(place: Any, recorded: Any, order: str) -> None:
    name = place()
    if order == "import first":
        importlib.import_module(name)
    hooks.apply(seams(name, *NAMES))
    module = importlib.import_module(name)
    assert states() == {n: ["on"] for n in NAMES}
    assert use(module)[0] == ("method", 1, 2)
    assert len(recorded.spans) == CALLS


def test_results_are_those_of_the_bare_module(place: Any, recorded: Any) -> None:
    bare = importlib.import_module(place())
    name = place()
    hooks.apply(seams(name, *NAMES))
    assert use(importlib.import_module(name)) == use(bare)


@pytest.mark.parametrize("times", [1, 2])
def test_undo_restores_the_identical_descriptors(place: Any, recorded: Any, times: int) -> None:
    module = importlib.import_module(place())
    before = raws(module)
    for _ in range(times):
        hooks.apply(seams(module.__name__, *NAMES))
    patched = raws(module)
    for name in NAMES:
        assert patched[name] is not before[name]
        assert type(patched[name]) is type(before[name])
    use(module)
    assert len(recorded.spans) == CALLS  # hooked twice, wrapped once
    hooks.undo()
    assert all(raws(module)[name] is before[name] for name in NAMES)
    assert hooks.outcomes == {}
    use(module)
    assert len(recorded.spans) == CALLS


def test_undo_before_the_import_leaves_the_module_alone(place: Any, recorded: Any) -> None:
    name = place()
    hooks.apply(seams(name, *NAMES))
    assert states()["function"] == ["waiting"]
    hooks.undo()
    use(importlib.import_module(name))
    assert recorded.spans == []


def test_apply_again_after_undo(place: Any, recorded: Any) -> None:
    module = importlib.import_module(place())
    for round in (1, 2, 3):
        hooks.apply(seams(module.__name__, "Engine.method"))
        module.Engine().method(1)
        hooks.undo()
        assert len(recorded.spans) == round


def test_a_class_taken_early_is_patched_all_the_same(place: Any, recorded: Any) -> None:
    module = importlib.import_module(place())
    engine = module.Engine
    instance = engine()
    hooks.apply(seams(module.__name__, "Engine.method"))
    instance.method(1)
    assert len(recorded.spans) == 1


def test_a_wrapper_keeps_name_signature_and_attributes(place: Any) -> None:
    import inspect

    module = importlib.import_module(place())
    before = {
        n: (f.__name__, f.__doc__, inspect.signature(f))
        for n, f in vars(module.Engine).items()
        if inspect.isfunction(f)
    }
    hooks.apply(seams(module.__name__, *NAMES))
    after = {
        n: (f.__name__, f.__doc__, inspect.signature(f))
        for n, f in vars(module.Engine).items()
        if inspect.isfunction(f)
    }
    assert after == before
    assert module.Engine.decorated.decorated_by == "dify"


def test_what_is_missing_does_not_disturb_what_is_there(place: Any, recorded: Any) -> None:
    name = place()
    wanted = ["Engine.method", "Engine.gone", "Gone.method", "Engine.inherited", "gone", "Engine.Inner.gone"]
    hooks.apply([*seams("no_such_module_at_all", "x"), *seams(name, *wanted)])
    module = importlib.import_module(name)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("no_such_module_at_all")
    assert states() == {"x": ["waiting"], "Engine.method": ["on"], **{n: ["absent"] for n in wanted[1:]}}
    module.Engine().method(1)
    assert len(recorded.spans) == 1


def test_seams_and_groups_can_be_disabled(place: Any) -> None:
    name = place()
    module = importlib.import_module(name)
    before = raws(module)
    hooks.apply(
        [
            Seam("group.one", OPERATION, (f"{name}:Engine.method",)),
            Seam("group.two", OPERATION, (f"{name}:Engine.classy",)),
            Seam("other", OPERATION, (f"{name}:Engine.static",)),
            Seam("kept", OPERATION, (f"{name}:function",)),
        ],
        frozenset({"group", "other"}),
    )
    changed = [n for n, raw in raws(module).items() if raw is not before[n]]
    assert changed == ["function"]
    assert list(hooks.outcomes) == ["kept"]


def test_a_module_that_fails_to_import_fails_as_without_us(place: Any) -> None:
    name = place("raise LookupError('its own')")
    hooks.apply(seams(name, "Engine.method"))
    with pytest.raises(LookupError, match="its own"):
        importlib.import_module(name)
    assert name not in sys.modules


def test_a_hook_that_raises_does_not_break_the_import(place: Any, quiet_guard: Any, recorded: Any) -> None:
    name = place()

    def explode(_: Any) -> None:
        raise RuntimeError

    hooks.after_import(name, explode)
    hooks.apply(seams(name, "Engine.method"))
    hooks.apply(seams(name, "Engine.static", does=explode))
    hooks.after_import(name, explode)
    module = importlib.import_module(name)
    assert states() == {"Engine.method": ["on"], "Engine.static": ["failed"]}
    assert module.Engine.static(1) == ("static", 1)
    module.Engine().method(1)
    assert len(recorded.spans) == 1
    assert sum(quiet_guard.counts().values()) == 3


def test_a_hook_may_hook_and_import(place: Any) -> None:
    first, second = place(), place()
    seen: list[str] = []

    def on_first(module: Any) -> None:
        hooks.after_import(second, lambda m: seen.append(m.__name__))
        importlib.import_module(second)
        hooks.after_import(first, lambda m: seen.append(m.__name__))

    hooks.after_import(first, on_first)
    importlib.import_module(first)
    assert sorted(seen) == sorted([first, second])


def test_a_module_hooked_while_it_is_being_imported(place: Any, recorded: Any) -> None:
    name = place(f"import hooking_now\n{textwrap.dedent(SOURCE)}")
    hooking = type(sys)("hooking_now")

    class Now:
        @staticmethod
        def find_spec(fullname: str, path: Any = None, target: Any = None) -> None:
            return None

    sys.modules["hooking_now"] = hooking
    try:
        hooks.after_import(name, lambda module: None)  # its loader is ours
        hooks.apply(seams(name, "Engine.method"))
        module = importlib.import_module(name)
    finally:
        del sys.modules["hooking_now"]
    module.Engine().method(1)
    assert states() == {"Engine.method": ["on"]}
    assert len(recorded.spans) == 1


def test_the_module_keeps_its_loader_and_spec(place: Any) -> None:
    plain, hooked = importlib.import_module(place()), place()
    hooks.apply(seams(hooked, "Engine.method"))
    module = importlib.import_module(hooked)
    assert type(module.__loader__) is type(plain.__loader__)
    assert module.__spec__.loader is module.__loader__
    assert module.__spec__.origin == module.__file__
    import inspect

    assert "class Engine" in inspect.getsource(module)


def test_a_reload_works_and_is_not_undone_wrongly(place: Any) -> None:
    module = importlib.import_module(place())
    hooks.apply(seams(module.__name__, "Engine.method"))
    importlib.reload(module)
    assert module.Engine().method(1) == ("method", 1, 2)
    fresh = vars(module.Engine)["method"]
    hooks.undo()
    assert vars(module.Engine)["method"] is fresh


def test_two_finders_that_delegate_to_each_other_do_not_loop(place: Any, recorded: Any) -> None:
    """Another agent's finder (wrapt, OpenTelemetry, ddtrace) asks importlib again for the spec, as ours does."""
    name = place()
    busy: set[str] = set()

    class Other:
        @staticmethod
        def find_spec(fullname: str, path: Any = None, target: Any = None) -> Any:
            if fullname != name or fullname in busy:
                return None
            busy.add(fullname)
            try:
                return importlib.util.find_spec(fullname)
            finally:
                busy.discard(fullname)

    hooks.apply(seams(name, "Engine.method"))
    for position in (0, len(sys.meta_path)):
        sys.meta_path.insert(position, Other)  # type: ignore[arg-type]
    try:
        importlib.import_module(name).Engine().method(1)
    finally:
        while Other in sys.meta_path:
            sys.meta_path.remove(Other)  # type: ignore[arg-type]
    assert len(recorded.spans) == 1


def test_taps_see_calls_and_make_no_span(place: Any, recorded: Any) -> None:
    module = importlib.import_module(place())
    seen: list[Any] = []
    tap = Tap(
        before=lambda arguments, enclosing: seen.append(dict(arguments)),
        after=lambda arguments, result, enclosing: seen.append(result),
        only=lambda args: args[-1] != "unseen",
    )
    hooks.apply(seams(module.__name__, "Engine.method", does=tap))
    engine = module.Engine()
    assert engine.method("unseen") == ("method", "unseen", 2)
    assert seen == []
    assert engine.method(1) == ("method", 1, 2)
    assert seen == [{"self": engine, "a": 1, "b": 2}, ("method", 1, 2)]
    assert recorded.spans == []


# --- another agent was there first


@pytest.mark.parametrize("name", ["Engine.method", "Engine.classy", "Engine.static", "function", "Engine.stream"])
def test_another_agents_wrapper_stays_inside_ours(place: Any, recorded: Any, name: str) -> None:
    bare = importlib.import_module(place())
    module = importlib.import_module(place())
    seen: list[tuple[str, tuple[Any, ...]]] = []

    def theirs(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        seen.append((type(instance).__name__ if not isinstance(instance, type) else instance.__name__, args))
        return wrapped(*args, **kwargs)

    wrapt.wrap_function_wrapper(module, name, theirs)
    without_us = use(module)
    told = list(seen)
    assert without_us == use(bare)
    raw = raws(module)[name]
    hooks.apply(seams(module.__name__, name))
    assert states() == {name: ["on"]}
    seen.clear()
    assert use(module) == without_us
    assert seen == told  # instance, class and arguments as without us
    assert len(recorded.spans) == len(told)
    hooks.undo()
    assert raws(module)[name] is raw


def test_an_agent_that_comes_later_wraps_us_and_we_do_not_wrap_again(place: Any, recorded: Any) -> None:
    module = importlib.import_module(place())
    hooks.apply(seams(module.__name__, "Engine.method"))
    wrapt.wrap_function_wrapper(
        module, "Engine.method", lambda wrapped, instance, args, kwargs: wrapped(*args, **kwargs)
    )
    hooks.apply(seams(module.__name__, "Engine.method"))
    assert module.Engine().method(1) == ("method", 1, 2)
    assert len(recorded.spans) == 1
