"""The resolver finds what `core.hooks` would find at run time, without running anything."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from dify_otel.doctor import sources as module
from dify_otel.doctor.sources import ABSENT, FOUND, UNREADABLE


def test_the_last_definition_wins(sources: Any) -> None:
    tree = sources(
        {
            "m.py": "from typing import overload\n"
            "class C:\n"
            "    @overload\n    def f(self, a): ...\n"
            "    @overload\n    def f(self, a, b): ...\n"
            "    def f(self, a, b=None, *, c, **more): ...\n"
        }
    )
    found = tree.resolve("m:C.f")
    assert (found.state, found.parameters, found.keywords) == (FOUND, ("self", "a", "b", "c"), True)
    assert found.line == 7


def test_an_inherited_method_is_not_the_classs_own(sources: Any) -> None:
    tree = sources({"m.py": "class B:\n    def f(self): ...\nclass C(B): ...\n"})
    assert tree.resolve("m:B.f").state == FOUND
    assert tree.resolve("m:C.f").state == ABSENT


def test_decorated_and_conditional(sources: Any) -> None:
    tree = sources(
        {
            "m.py": "import sys\n"
            "class C:\n"
            "    @classmethod\n    @trace(span)\n    def made(cls, x, /, y): ...\n"
            "if sys.version_info > (3,):\n    def f(a): ...\n"
            "else:\n    def f(b): ...\n"
            "try:\n    def g(a): ...\n"
            "except ImportError:\n    def g(b): ...\n"
        }
    )
    assert tree.resolve("m:C.made").parameters == ("cls", "x", "y")
    assert tree.resolve("m:f").parameters == ("a",)
    assert tree.resolve("m:g").parameters == ("a",)


def test_imports_lead_to_the_definition_but_not_those_for_types(sources: Any) -> None:
    tree = sources(
        {
            "pkg/__init__.py": "from .inner import C as Public\nfrom pkg.inner import f\n",
            "pkg/inner.py": "class C:\n    def run(self, x): ...\ndef f(y): ...\n",
            "typed.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pkg.inner import f\n",
        }
    )
    assert tree.resolve("pkg:Public.run").parameters == ("self", "x")
    assert tree.resolve("pkg:f").parameters == ("y",)
    assert tree.resolve("typed:f").state == ABSENT


def test_aliases(sources: Any) -> None:
    tree = sources({"m.py": "class C:\n    def _run(self, a): ...\n    run = _run\nD = C\nf = g = object()\n"})
    assert tree.resolve("m:C.run").parameters == ("self", "a")
    assert tree.resolve("m:D._run").parameters == ("self", "a")
    assert (tree.resolve("m:f").state, tree.resolve("m:f").parameters) == (FOUND, None)


def test_absent_and_unreadable(sources: Any) -> None:
    tree = sources({"bad.py": "def f(:\n", "circle.py": "from circle import f\n"})
    assert tree.resolve("none.at.all:f").state == ABSENT
    assert tree.resolve("circle:f").state == ABSENT
    found = tree.resolve("bad:f")
    assert found.state == UNREADABLE
    assert "SyntaxError" in found.detail


def test_as_a_script_it_needs_nothing_of_ours(sources: Any) -> None:
    tree = sources({"m.py": "def f(a): ...\n"})
    ran = subprocess.run(
        [sys.executable, "-I", module.__file__],
        input=json.dumps({"roots": [str(r) for r in tree.roots], "targets": ["m:f", "m:g"]}),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    said = json.loads(ran.stdout)
    assert [(r["state"], r["parameters"]) for r in said] == [(FOUND, ["a"]), (ABSENT, None)]
