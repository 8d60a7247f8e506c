"""The process suite's servers and doors, and a backend that misbehaves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import backend as backends
from tests.process.conftest import agent, bare, doors, receiver, servers, start

__all__ = ["agent", "bare", "doors", "receiver", "servers", "start"]


@pytest.fixture(params=["grpc", "http/protobuf"])
def backend(request: pytest.FixtureRequest) -> Iterator[backends.Backend]:
    with backends.Backend(request.param) as listening:
        yield listening


@pytest.fixture(scope="session")
def untrusted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate nobody trusts."""
    return backends.certificate(tmp_path_factory.mktemp("certificate"))
