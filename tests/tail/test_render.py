"""The tree on a terminal: one picture held fast, and laws for every width and every span name."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from dify_otel.tail.render import MAX_ROWS, clean, render
from dify_otel.tail.tree import build
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from .sample import request, span

PICTURE = Path(__file__).parent / "request.txt"
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_the_picture() -> None:
    assert render(build(request()), color=False, width=112) == PICTURE.read_text("utf-8")


def test_without_colour_there_is_no_escape() -> None:
    assert "\x1b" not in render(build(request()), color=False)


def test_colour_changes_nothing_but_colour() -> None:
    coloured = render(build(request()), color=True, width=100)
    assert coloured != ESCAPES.sub("", coloured)
    assert ESCAPES.sub("", coloured) == render(build(request()), color=False, width=100)


def test_errors_are_red() -> None:
    coloured = render(build(request()), color=True)
    assert re.search(r"\x1b\[1;31mcode Parse\x1b\[0m", coloured)
    assert re.search(r"\x1b\[31m✗ CodeExecutionError: KeyError", coloured)
    assert "31m" not in render(build(request(failing=False)), color=True)


@given(st.integers(40, 200))
@settings(max_examples=40, deadline=None)
def test_no_line_is_wider_than_asked(width: int) -> None:
    for line in render(build(request()), color=False, width=width).splitlines():
        assert cell_len(line) <= width


@given(st.text(max_size=60), st.text(max_size=60), st.sampled_from([44, 80, 120]))
@settings(max_examples=150, deadline=None)
def test_no_text_breaks_a_line_or_reaches_the_terminal_raw(name: str, message: str, width: int) -> None:
    attributes = {"dify.app.name": name, "gen_ai.request.model": message, "gen_ai.operation.name": "chat"}
    failed = span(1, 0, name, 0, 5, attributes, status="ERROR", status_message=message, resource={"service.name": name})
    shown = render(build([failed]), color=False, width=width)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)
    assert all(cell_len(line) <= width for line in shown.split("\n"))


def test_a_name_cannot_move_the_cursor_or_reverse_the_text() -> None:
    assert clean("a\x1b[2Jb\r\nc\u202ed") == "a\ufffd[2Jb  c\ufffdd"


def test_markup_in_names_is_only_text() -> None:
    assert "[red]code[/red] :boom:" in render(build([span(1, 0, "[red]code[/red] :boom:", 0, 1)]), color=False)


def test_secrets_in_error_texts_are_masked() -> None:
    said = "401 for key sk-abcdefghijklmnopqrstuvwx at https://u:pw@host/x?sign=abc"
    shown = render(build([span(1, 0, "s", 0, 1, status="ERROR", status_message=said)]), color=False, width=160)
    assert "abcdefghijkl" not in shown
    assert ":pw@" not in shown
    assert "sign=abc" not in shown
    assert "401 for key •••" in shown


def test_prompts_stay_out_of_the_terminal() -> None:
    shown = render(build(request(content=True)), color=False)
    assert "parcel has not arrived" not in shown
    assert "support desk" not in shown


def test_alike_neighbours_are_one_row_unless_one_failed() -> None:
    spans = [span(1, 0, "request", 0, 99), *(span(n, 1, "SELECT dify", n, n + 1) for n in range(2, 12))]
    shown = render(build(spans), color=False)
    assert "SELECT dify ×10" in shown
    spans[5] = replace(spans[5], status="ERROR")
    shown = render(build(spans), color=False)
    assert "SELECT dify ×4" in shown
    assert "SELECT dify ×5" in shown
    assert shown.count("✗ failed") == 1


def test_a_huge_trace_is_cut_and_says_so() -> None:
    spans = [span(1, 0, "request", 0, 99), *(span(n, 1, f"step {n}", n, n + 1) for n in range(2, 1002))]
    shown = render(build(spans), color=False)
    assert f"{1001 - MAX_ROWS} more rows" in shown
    assert len(shown.splitlines()) < MAX_ROWS + 10


def test_a_part_says_that_it_is_one() -> None:
    shown = render(build(request()[1:]), color=False)
    assert "first span has not been received" in shown


def test_an_orphan_is_marked() -> None:
    shown = render(build([span(1, 0, "request", 0, 9), span(2, 77, "lost", 1, 2)]), color=False)
    assert re.search(r"lost .*parent not received", shown)


def test_a_bar_stands_where_the_span_ran() -> None:
    shown = render(build([span(1, 0, "all", 0, 100), span(2, 1, "last half", 50, 100)]), color=False, width=100)
    whole, half = (next(line for line in shown.splitlines() if name in line) for name in ("all  dify", "last half"))
    assert half.count("━") == pytest.approx(whole.count("━") / 2, abs=1)
    assert half.rindex("━") == whole.rindex("━")


def test_waiting_for_the_first_chunk_is_thin() -> None:
    timed = {"gen_ai.response.time_to_first_chunk": 0.025}
    shown = render(build([span(1, 0, "chat m", 0, 100, timed)]), color=False, width=100)
    line = next(line for line in shown.splitlines() if "chat m  dify" in line)
    assert line.count("─") == pytest.approx(line.count("━") / 3, abs=1)
    assert line.index("─") < line.index("━")
