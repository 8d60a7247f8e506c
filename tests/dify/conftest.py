"""Dify's own source and environment, given from outside: nothing of Dify is in this repository.

`DIFY_TREES` is a folder with one tree a release (`<tag>/api`), `GRAPHON_DIR` one with the engines that newer releases
pin (`<version>/graphon`). `DIFY_API_DIR` and `DIFY_PYTHON` are one release's `api` folder and an interpreter for it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from dify_otel.doctor.sources import Sources
from dify_otel.releases import RELEASES


class Trees:
    """Sources of every release at hand, the engine of newer ones included."""

    def __init__(self, folder: Path, engines: Path | None) -> None:
        self.folder = folder
        self.engines = engines
        self._sources: dict[str, Sources] = {}

    def releases(self) -> list[str]:
        return [r.name for r in RELEASES if (self.folder / r.name / "api").is_dir()]

    def sources(self, release: str) -> Sources:
        if release not in self._sources:
            roots = [self.folder / release / "api"]
            pin = next((r.graphon for r in RELEASES if r.name == release), None)
            if pin is not None:
                if self.engines is None or not (self.engines / pin / "graphon").is_dir():
                    pytest.skip(f"Dify {release} needs graphon {pin}: set GRAPHON_DIR to a folder with {pin}/graphon")
                roots.append(self.engines / pin)
            self._sources[release] = Sources(roots)
        return self._sources[release]


def _folder(name: str) -> Path | None:
    value = os.environ.get(name)
    return Path(value) if value else None


@pytest.fixture(scope="session")
def trees() -> Trees:
    folder = _folder("DIFY_TREES")
    if folder is None:
        pytest.skip("DIFY_TREES is not set: a folder with one Dify tree a release (<tag>/api)")
    return Trees(folder, _folder("GRAPHON_DIR"))


@pytest.fixture(scope="session")
def api_dir() -> Path:
    folder = _folder("DIFY_API_DIR")
    if folder is None:
        pytest.skip("DIFY_API_DIR is not set: the api folder of a Dify release")
    return folder


@pytest.fixture(scope="session")
def dify_python() -> Path:
    python = _folder("DIFY_PYTHON")
    if python is None:
        pytest.skip("DIFY_PYTHON is not set: an interpreter with that release's packages")
    return python
