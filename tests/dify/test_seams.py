"""The seam table against Dify's real source: what a row claims is so, in every release, and nowhere else.

Read from source, so that the releases need no environment; with `DIFY_API_DIR` and `DIFY_PYTHON` one release's modules
are imported for real as well, hooked as they are in production.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from dify_otel.doctor.sources import FOUND, UNREADABLE
from dify_otel.releases import RELEASES, claims
from dify_otel_instrumentors.seams import READY, SEAMS

ROOT = Path(__file__).resolve().parents[2]
NAMES = [r.name for r in RELEASES]


def _present(trees: Any, release: str) -> None:
    if not (trees.folder / release / "api").is_dir():
        pytest.skip(f"no tree of Dify {release} in DIFY_TREES")


@pytest.mark.parametrize("release", NAMES)
def test_every_seam_is_where_its_row_says(trees: Any, release: str) -> None:
    _present(trees, release)
    sources = trees.sources(release)
    wrong = {}
    for seam in SEAMS:
        found = [t for t in seam.targets if sources.resolve(t).state == FOUND]
        if bool(found) != claims(seam, release):
            wrong[seam.name] = found or "absent"
    assert wrong == {}


@pytest.mark.parametrize("release", NAMES)
def test_what_is_read_by_name_is_a_parameter(trees: Any, release: str) -> None:
    _present(trees, release)
    sources = trees.sources(release)
    drifted = {}
    for seam in SEAMS:
        for target in seam.targets:
            resolved = sources.resolve(target)
            assert resolved.state != UNREADABLE, f"{target}: {resolved.detail}"
            if resolved.state == FOUND:
                missing = [p for p in seam.reads if p not in (resolved.parameters or ())]
                if missing or resolved.parameters is None:
                    drifted[target] = missing
    assert drifted == {}


@pytest.mark.parametrize("release", NAMES)
def test_a_node_runs_through_exactly_one_place(trees: Any, release: str) -> None:
    _present(trees, release)
    seam = next(s for s in SEAMS if s.name == "node.run")
    found = [t for t in seam.targets if trees.sources(release).resolve(t).state == FOUND]
    assert len(found) == 1, found


@pytest.mark.parametrize("release", NAMES)
def test_the_moment_of_readiness_exists(trees: Any, release: str) -> None:
    _present(trees, release)
    resolved = trees.sources(release).resolve(READY)
    assert resolved.state == FOUND
    assert (resolved.parameters or ())[:1] == ("app",)


def test_no_name_in_the_table_is_dead(trees: Any) -> None:
    if trees.releases() != NAMES:
        pytest.skip("DIFY_TREES does not hold every release")
    seen = {t for r in NAMES for s in SEAMS for t in s.targets if trees.sources(r).resolve(t).state == FOUND}
    future = {t for s in SEAMS for t in s.targets if not any(claims(s, r) for r in NAMES)}
    assert {t for s in SEAMS for t in s.targets} - seen - future == set()


@pytest.mark.parametrize("release", NAMES)
def test_the_pinned_engine_is_the_one_in_our_list(trees: Any, release: str) -> None:
    _present(trees, release)
    listed = next(r for r in RELEASES if r.name == release)
    pin = re.search(r'"graphon[~=]=([\d.]+)"', (trees.folder / release / "api" / "pyproject.toml").read_text())
    assert (pin.group(1) if pin else None) == listed.graphon
    engine = "graphon" if pin else "dify_graph" if (trees.folder / release / "api" / "dify_graph").is_dir() else None
    assert listed.engine == (engine or "core.workflow")


HOOKED = """
import importlib, json, sys
sys.path.extend(sys.argv[1:3])
from dify_otel_instrumentors import seams
from dify_otel_instrumentors.core import hooks
hooks.apply(seams.SEAMS)
out = {}
for seam in seams.SEAMS:
    for target in seam.targets:
        module = target.partition(":")[0]
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            if not module.startswith(error.name or "?"):
                raise
for name, found in hooks.outcomes.items():
    out[name] = {o.target: [o.state, o.detail] for o in found}
print("OUTCOMES" + json.dumps(out))
"""


def test_hooks_wrap_the_imported_release(api_dir: Path, dify_python: Path) -> None:
    ran = subprocess.run(
        [str(dify_python), "-c", HOOKED, str(ROOT / "bootstrap"), str(ROOT / "instrumentors")],
        cwd=api_dir,
        env={**os.environ, "PYTHONPATH": "", "SECRET_KEY": "x", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    outcomes = json.loads(next(x for x in ran.stdout.splitlines() if x.startswith("OUTCOMES"))[8:])
    pyproject = (api_dir / "pyproject.toml").read_text(encoding="utf-8")
    release = re.search(r'^version = "([^"]+)"', pyproject, re.MULTILINE)
    assert release is not None
    failed = {t: s for targets in outcomes.values() for t, s in targets.items() if s[0] in ("failed", "foreign")}
    assert failed == {}
    on = {name for name, targets in outcomes.items() if any(s[0] == "on" for s in targets.values())}
    assert on == {s.name for s in SEAMS if claims(s, release.group(1))}
