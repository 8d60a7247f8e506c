"""The process suite's servers and doors; the form of the load by environment."""

from __future__ import annotations

import os

import pytest

from tests.process.conftest import agent, doors, receiver, servers, start

__all__ = ["agent", "doors", "receiver", "servers", "start"]

SECONDS = float(os.environ.get("DIFY_OTEL_LOAD_SECONDS", "60"))
"""Seconds under load with us, in two runs; each has a run without us before it, of a minute at most."""


@pytest.fixture(scope="session")
def seconds() -> float:
    return SECONDS
