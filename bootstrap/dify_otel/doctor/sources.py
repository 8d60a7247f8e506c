"""Finds a function in source code without importing it: `module:Qualified.name` to its parameters.

Follows what `core.hooks` would find at run time: the last definition of a name wins (overloads, conditional
definitions), a method must stand in the class itself, imported names lead to their module. Standard library only and
no import of ours, because it also runs as a script under another interpreter: Dify's source may use newer syntax than
the one at hand reads.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_DEPTH = 8
"""Imports and aliases followed before giving up."""

FOUND, ABSENT, UNREADABLE = "found", "absent", "unreadable"


@dataclass(frozen=True, slots=True)
class Resolved:
    """What became of one name: `found` with its parameters (receiver included), `absent`, or `unreadable`.

    `parameters` is None when the name is bound to something that is not a function definition.
    """

    target: str
    state: str
    file: str | None = None
    line: int | None = None
    parameters: tuple[str, ...] | None = None
    keywords: bool = False
    """Whether it takes `**kwargs`."""
    detail: str = ""


Bound = ast.stmt | ast.expr | ast.alias | None


class Sources:
    """Source trees, searched in order as an import path would be. Parses each module once."""

    def __init__(self, roots: Iterable[Path | str]) -> None:
        self.roots = [Path(r) for r in roots]
        self._modules: dict[str, tuple[Path, dict[str, Bound]] | None] = {}

    def resolve(self, target: str) -> Resolved:
        """The function behind `module:Qualified.name`. Never raises; what cannot be parsed is `unreadable`."""
        module, _, path = target.partition(":")
        try:
            return self._resolve(target, module, path.split("."), _DEPTH)
        except (OSError, SyntaxError, ValueError) as error:
            return Resolved(target, UNREADABLE, detail=f"{type(error).__name__}: {error}")

    def _resolve(self, target: str, module: str, path: Sequence[str], depth: int) -> Resolved:
        loaded = self._module(module)
        if loaded is None or depth <= 0:
            return Resolved(target, ABSENT)
        file, names = loaded
        *owners, name = path
        for i, owner in enumerate(owners):
            bound = names.get(owner)
            if isinstance(bound, ast.ClassDef):
                names = _bindings(bound.body)
                continue
            return self._follow(target, module, bound, [*owners[i:], name], depth, names)
        return self._bound(target, module, file, names, name, depth)

    def _bound(
        self, target: str, module: str, file: Path, names: Mapping[str, Bound], name: str, depth: int
    ) -> Resolved:
        bound = names.get(name)
        if bound is None:
            return Resolved(target, ABSENT)
        if isinstance(bound, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = bound.args
            parameters = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
            return Resolved(target, FOUND, str(file), bound.lineno, tuple(parameters), arguments.kwarg is not None)
        if isinstance(bound, ast.Name) and depth > 0 and bound.id != name:
            return self._bound(target, module, file, names, bound.id, depth - 1)
        if isinstance(bound, ast.ImportFrom):
            return self._follow(target, module, bound, [name], depth, names)
        return Resolved(target, FOUND, str(file), getattr(bound, "lineno", None))

    def _follow(
        self, target: str, module: str, bound: Bound, path: Sequence[str], depth: int, names: Mapping[str, Bound]
    ) -> Resolved:
        """Where an imported or aliased owner leads."""
        if isinstance(bound, ast.Name) and isinstance(names.get(bound.id), ast.ClassDef) and bound.id != path[0]:
            return self._resolve(target, module, [bound.id, *path[1:]], depth - 1)
        if not isinstance(bound, ast.ImportFrom):
            return Resolved(target, ABSENT)
        source = bound.module or ""
        if bound.level:
            package = module.split(".") if self._is_package(module) else module.split(".")[:-1]
            package = package[: len(package) - bound.level + 1]
            source = ".".join([*package, source]).strip(".")
        original = next((a.name for a in bound.names if (a.asname or a.name) == path[0]), path[0])
        return self._resolve(target, source, [original, *path[1:]], depth - 1)

    def _is_package(self, module: str) -> bool:
        loaded = self._module(module)
        return loaded is not None and loaded[0].name == "__init__.py"

    def _module(self, name: str) -> tuple[Path, dict[str, Bound]] | None:
        if name not in self._modules:
            file = self.file(name)
            if file is None:
                self._modules[name] = None
            else:
                tree = ast.parse(file.read_bytes(), str(file))
                self._modules[name] = (file, _bindings(tree.body))
        return self._modules[name]

    def file(self, module: str) -> Path | None:
        """The file of a module, or None."""
        relative = Path(*module.split("."))
        for root in self.roots:
            for candidate in (root / relative / "__init__.py", (root / relative).with_suffix(".py")):
                if candidate.is_file():
                    return candidate
        return None


def _bindings(body: Sequence[ast.stmt]) -> dict[str, Bound]:
    """The names a block binds, as they stand after it ran; of alternatives the likelier one wins."""
    names: dict[str, Bound] = {}
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names[statement.name] = statement
        elif isinstance(statement, ast.ImportFrom):
            names.update({alias.asname or alias.name: statement for alias in statement.names})
        elif isinstance(statement, ast.Assign):
            names.update({t.id: statement.value for t in statement.targets if isinstance(t, ast.Name)})
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            if isinstance(statement.target, ast.Name):
                names[statement.target.id] = statement.value
        elif isinstance(statement, ast.If):
            taken = {} if _only_for_types(statement.test) else _bindings(statement.body)
            names.update({**_bindings(statement.orelse), **taken})
        elif isinstance(statement, ast.Try):
            fallback: dict[str, Bound] = {}
            for handler in statement.handlers:
                fallback.update(_bindings(handler.body))
            names.update({**fallback, **_bindings([*statement.body, *statement.orelse, *statement.finalbody])})
        elif isinstance(statement, ast.With):
            names.update(_bindings(statement.body))
        elif isinstance(statement, ast.Delete):
            for gone in statement.targets:
                if isinstance(gone, ast.Name):
                    names.pop(gone.id, None)
    return names


def _only_for_types(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else test.id if isinstance(test, ast.Name) else ""
    return name == "TYPE_CHECKING"


def main() -> int:
    """As a script: `{"roots": […], "targets": […]}` on standard input, a list of results on standard output."""
    asked = json.load(sys.stdin)
    sources = Sources(asked["roots"])
    json.dump([asdict(sources.resolve(t)) for t in asked["targets"]], sys.stdout)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
