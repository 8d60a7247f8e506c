"""The guard: swallows `Exception` and nothing else, a line a minute and site, bounded, loud when asked."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from dify_otel_instrumentors.core import guard


def swallow(site: str, error: BaseException) -> None:
    try:
        raise error
    except Exception:
        guard.failed(site)


@pytest.fixture
def clock(quiet_guard: Any, monkeypatch: Any) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(guard, "monotonic", lambda: now[0])
    return now


def test_it_counts_and_is_silent(clock: list[float], caplog: Any) -> None:
    for _ in range(3):
        swallow("site", ValueError("the prompt was: otters"))
    assert guard.counts() == {"site": 3}
    assert len(caplog.records) == 1
    line = caplog.records[0]
    assert line.name == "dify_otel" and line.levelno == logging.WARNING
    text = line.getMessage()
    assert "site" in text and "ValueError" in text
    assert "otters" not in text and line.exc_info is None


def test_a_line_a_minute_and_site(clock: list[float], caplog: Any) -> None:
    for second in range(181):
        clock[0] = 1000.0 + second
        swallow("one", ValueError())
        swallow("two", KeyError())
    assert [r.getMessage().split(" at ")[1].split(":")[0] for r in caplog.records].count("one") == 4
    assert len(caplog.records) == 8
    assert "181 so far" in caplog.records[-1].getMessage()


def test_sites_are_bounded(clock: list[float]) -> None:
    for n in range(guard.SITES_MAX + 500):
        swallow(f"site {n}", ValueError())
    counts = guard.counts()
    assert len(counts) == guard.SITES_MAX + 1
    assert counts["other"] == 500


def test_a_failing_log_handler_does_not_matter(clock: list[float], monkeypatch: Any) -> None:
    def explode(*_: Any) -> None:
        raise OSError

    monkeypatch.setattr(logging.getLogger("dify_otel"), "warning", explode)
    swallow("site", ValueError())
    assert guard.counts() == {"site": 1}


def test_loud_lets_it_through() -> None:
    guard.loud(True)
    error = ValueError("through")
    with pytest.raises(ValueError) as raised:
        swallow("site", error)
    assert raised.value is error


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_not_ours_passes(quiet_guard: Any, kind: type[BaseException], recorded: Any) -> None:
    """No `except` of ours catches more than `Exception`: thrown out of every function of an operation, it passes."""
    from dify_otel_instrumentors.core.operation import Operation
    from dify_otel_instrumentors.core.wrapper import instrument

    def throw(*_: Any) -> Any:
        raise kind

    for part in ("before", "opened", "after"):
        parts: dict[str, Any] = {"before": lambda a, e: ()}
        parts[part] = throw
        operation = Operation(concept="c", name=lambda f: "n", **parts)
        with pytest.raises(kind):
            instrument(lambda: 1, operation)()
