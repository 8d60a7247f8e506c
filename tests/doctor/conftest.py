"""Small Dify trees written by hand, one a generation: names and parameters as in the release, bodies empty."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from dify_otel.doctor import examination
from dify_otel.doctor.sources import Sources
from dify_otel.releases import claims
from dify_otel_instrumentors.seams import READY, SEAMS

GENERATIONS = {"A": "1.8.1", "B": "1.12.1", "C": "1.13.3", "D": "1.16.1"}
ENGINES = {"A": "core.workflow", "B": "core.workflow", "C": "dify_graph", "D": "graphon"}
_MOVED = ("core.workflow.", "dify_graph.", "graphon.")


def targets(generation: str) -> dict[str, tuple[str, ...]]:
    """What a release of that generation has: targets and the parameters read from them."""
    release, engine = GENERATIONS[generation], ENGINES[generation]
    found: dict[str, tuple[str, ...]] = {READY: ("app",)}
    for seam in SEAMS:
        if not claims(seam, release):
            continue
        for target in seam.targets:
            if target.startswith(_MOVED) and not target.startswith(f"{engine}."):
                continue
            if target.startswith("core.workflow.nodes.base") and (":BaseNode." in target) != (generation == "A"):
                continue  # renamed in 1.9.0
            if "based_generate_task_pipeline" in target and ("._handle_error" in target) != (generation == "A"):
                continue
            found[target] = seam.reads
    return found


def write(root: Path, found: Mapping[str, tuple[str, ...]]) -> None:
    """Modules, classes and functions for those targets below `root`."""
    modules: dict[str, dict[str, list[str]]] = {}
    for target, parameters in found.items():
        module, _, path = target.partition(":")
        owner, _, name = path.rpartition(".")
        receiver = "self, " if owner else ""
        line = f"def {name}({receiver}{', '.join(parameters)}): ..."
        modules.setdefault(module, {}).setdefault(owner, []).append(line)
    for module, owners in modules.items():
        file = root.joinpath(*module.split(".")).with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = list(owners.pop("", []))
        for owner, methods in owners.items():
            lines += [f"class {owner}:", *(f"    {m}" for m in methods)]
        file.write_text("\n".join(lines) + "\n", "utf-8")


Tree = Callable[..., Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """`tree("B")` writes a tree of that generation and gives its folder; changed by `without` and `extra`."""

    def make(
        generation: str = "D",
        *,
        without: tuple[str, ...] = (),
        changed: Mapping[str, tuple[str, ...]] | None = None,
        release: str | None = None,
    ) -> Path:
        dify = tmp_path / f"dify-{generation}"
        found = {t: p for t, p in targets(generation).items() if not any(w in t for w in without)}
        found |= dict(changed or {})
        write(dify / "api", {t: p for t, p in found.items() if not t.startswith("graphon.")})
        if generation == "D":
            site = dify / "api" / ".venv" / "lib" / "python3.12" / "site-packages"
            write(site, {t: p for t, p in found.items() if t.startswith("graphon.")})
        needs = '"graphon==0.6.0"' if generation == "D" else ""
        (dify / "api" / "pyproject.toml").write_text(
            f'[project]\nname = "dify-api"\nversion = "{release or GENERATIONS[generation]}"\n'
            f"dependencies = [{needs}]\n",
            "utf-8",
        )
        return dify

    return make


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment in which dify-otel is started: its folder on PYTHONPATH, nothing else."""
    inject = Path(examination.__file__).resolve().parents[1] / "inject"
    status = tmp_path / "status"
    status.mkdir()
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "PYTHONPATH": str(inject),
        "DIFY_OTEL_STATUS_DIR": str(status),
    }


@pytest.fixture
def sources(tmp_path: Path) -> Callable[[Mapping[str, str]], Sources]:
    """`sources({"pkg/mod.py": "text"})`."""

    def make(files: Mapping[str, str]) -> Sources:
        for name, text in files.items():
            file = tmp_path / "src" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
        return Sources([tmp_path / "src"])

    return make


@pytest.fixture
def python() -> str:
    return sys.executable


@pytest.fixture
def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        return int(holder.getsockname()[1])
