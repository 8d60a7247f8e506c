"""The page in a real headless Chromium: rows, search, tabs, colours, keys, no network, and no way in for markup."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from dify_otel.tail.page import page
from dify_otel.tail.span import Event, Link, Span
from dify_otel.tail.tree import build

from . import browser
from .browser import Browser
from .sample import messages, request, span

PROGRAM = browser.find()
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(PROGRAM is None, reason="no Chromium on the PATH (Debian: apt-get install chromium)"),
]

SHOWN_NAMES = "[...document.querySelectorAll('.row:not([hidden]) .title')].map((e) => e.textContent)"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    assert PROGRAM
    with Browser(PROGRAM) as running:
        yield running


@pytest.fixture
def opened(chromium: Browser, tmp_path: Path) -> Iterator[Browser]:
    yield show(chromium, tmp_path, request())
    assert chromium.problems == []


def show(chromium: Browser, directory: Path, spans: list[Span], fragment: str = "") -> Browser:
    path = directory / "trace.html"
    path.write_text(page(build(spans)), "utf-8")
    chromium.prefer(dark=False)
    chromium.open(path, fragment)
    chromium.run("localStorage.clear()")
    chromium.open(path, fragment)
    return chromium


def text(chromium: Browser, selector: str) -> str:
    found: str = chromium.run(f"document.querySelector({json.dumps(selector)}).textContent")
    return found


def test_asks_nothing_of_the_network(opened: Browser, tmp_path: Path) -> None:
    for key in ("overview", "attributes", "events"):
        opened.click(f"#tab-{key}")
    opened.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert opened.requests == [(tmp_path / "trace.html").as_uri()]


def test_one_row_a_span_in_order_and_depth(opened: Browser) -> None:
    nodes = build(request()).nodes
    names = opened.run("[...document.querySelectorAll('.row .title')].map((e) => e.textContent)")
    levels = opened.run("[...document.querySelectorAll('[role=row]')].map((e) => Number(e.ariaLevel))")
    assert [name.split(" plugin_daemon")[0] for name in names] == [node.span.name for node in nodes]
    assert levels == [node.depth + 1 for node in nodes]


def test_bars_stand_where_spans_ran(opened: Browser) -> None:
    places = opened.run(
        "[...document.querySelectorAll('.row')].map((row) => { const"
        " b = row.querySelector('.bar'); return [b.offsetLeft, b.offsetWidth, row.hidden]; })"
    )
    scale = places[0][1]
    assert scale > 300
    trace = build(request())
    whole = trace.end_ns - trace.start_ns
    for (left, width, hidden), node in zip(places, trace.nodes, strict=True):
        if not hidden:
            assert left / scale == pytest.approx((node.span.start_ns - trace.start_ns) / whole, abs=0.01)
            assert width / scale == pytest.approx((node.span.end_ns - node.span.start_ns) / whole, abs=0.012)


def test_the_head_tells_the_request(opened: Browser) -> None:
    assert text(opened, "h1").startswith("Support triage")
    tiles = text(opened, "#tiles")
    for figure in ("3.42 s", "1.93 s", "1,923 → 202", "0.0068 USD", "stub-chat", "in 3 services"):
        assert figure in tiles
    assert "KeyError" in text(opened, "#alarm")
    assert opened.run("document.title") == "Support triage · 3.42 s"


def test_it_opens_on_what_failed(opened: Browser) -> None:
    assert text(opened, ".row.on .title") == "code Parse"
    assert "KeyError" in text(opened, "#panel")
    assert text(opened, ".error pre").startswith("Traceback")


def test_search_finds_names_attributes_and_prompts(opened: Browser) -> None:
    opened.press("/")
    opened.type("order 48213")
    hits = opened.run("[...document.querySelectorAll('.row:not([hidden]):not(.dim) .title')].map((e) => e.textContent)")
    assert "chat stub-chat" in hits
    assert "rerank stub-rerank" not in hits
    assert f"of {len(request())}" in text(opened, "#hits")
    above = opened.run("[...document.querySelectorAll('.row.dim:not([hidden]) .title')].map((e) => e.textContent)")
    assert "POST /v1/workflows/run" in above

    opened.press("Escape")
    assert opened.run("document.querySelector('#search').value") == ""
    opened.press("/")
    opened.type("rerank")
    assert text(opened, "mark") == "rerank"
    opened.press("Enter")
    assert text(opened, ".row.on .title") == "rerank stub-rerank"
    opened.press("Escape")
    opened.press("/")
    opened.type("there is no such thing")
    assert opened.run(SHOWN_NAMES) == []
    assert not opened.run("document.querySelector('.empty').hidden")


def test_kinds_filter(opened: Browser) -> None:
    opened.click("[data-kind=errors]")
    assert opened.run("[...document.querySelectorAll('.row:not([hidden]):not(.dim)')].length") == 1
    opened.click("[data-kind=model]")
    assert opened.run("[...document.querySelectorAll('.row:not([hidden]):not(.dim)')].length") == 4
    assert opened.run("document.querySelector('[data-kind=model]').ariaPressed") == "true"
    opened.click("[data-kind=model]")
    opened.click("[data-kind=errors]")
    assert text(opened, "#hits") == ""


def test_prompt_and_answer_have_tabs(opened: Browser, tmp_path: Path) -> None:
    show(opened, tmp_path, request(), f"#{31:016x}")
    tabs = opened.run("[...document.querySelectorAll('[role=tab]')].map((e) => e.firstChild.textContent)")
    assert tabs == ["Overview", "Prompt", "Answer", "Attributes"]
    opened.click("#tab-input")
    assert opened.run("[...document.querySelectorAll('.turn .who b')].map((e) => e.textContent)") == [
        "system", "user", "assistant", "user",
    ]  # fmt: skip
    opened.click("#tab-output")
    assert "Heavy snow holds up" in text(opened, "#panel")
    assert opened.run("document.querySelector('#tab-output').ariaSelected") == "true"
    opened.press("ArrowRight")
    assert opened.run("document.querySelector('#tab-attributes').ariaSelected") == "true"
    assert "gen_ai.usage.output_tokens" in text(opened, "#panel")


def test_tools_and_documents_have_their_own_words(opened: Browser, tmp_path: Path) -> None:
    show(opened, tmp_path, request(), f"#{8:016x}")
    assert text(opened, "#tab-output") == "Documents"
    opened.click("#tab-output")
    assert [text(opened, f".turn.document:nth-child({at}) .who").split("Copy")[0] for at in (1, 2, 3)] == [
        "Delays and weather0.91", "Urgent marking0.84", "Refunds0.52",
    ]  # fmt: skip


def test_without_content_there_are_no_such_tabs_but_advice(opened: Browser, tmp_path: Path) -> None:
    show(opened, tmp_path, request(content=False, failing=False))
    tabs = opened.run("[...document.querySelectorAll('[role=tab]')].map((e) => e.firstChild.textContent)")
    assert tabs == ["Overview", "Attributes"]
    assert "CAPTURE_MESSAGE_CONTENT=SPAN_ONLY" in text(opened, ".hint")


def test_keys_move_and_fold(opened: Browser) -> None:
    opened.press("Home")
    assert text(opened, ".row.on .title") == "POST /v1/workflows/run"
    opened.press("ArrowDown")
    assert text(opened, ".row.on .title") == "dify.app Support triage"
    opened.press("ArrowLeft")
    assert opened.run(SHOWN_NAMES) == ["POST /v1/workflows/run", "dify.app Support triage"]
    assert opened.run("document.querySelector('.row.on').ariaExpanded") == "false"
    opened.press("ArrowRight")
    assert len(opened.run(SHOWN_NAMES)) > 20
    opened.press("e")
    assert text(opened, ".row.on .title") == "code Parse"
    opened.press("Escape")
    assert opened.run("document.querySelector('#detail').hidden")


def test_a_loop_over_the_database_starts_folded(opened: Browser) -> None:
    assert "SELECT dify" not in opened.run(SHOWN_NAMES)
    opened.click(f"#row-{_position('iteration Each past order')} .fold")
    assert opened.run(SHOWN_NAMES).count("SELECT dify") == 6


def _position(name: str) -> int:
    return next(at for at, node in enumerate(build(request()).nodes) if node.span.name == name)


def test_a_double_click_looks_closer_and_back(opened: Browser) -> None:
    row = f"#row-{_position('retrieval')}"
    width = f"document.querySelector('{row} .bar').offsetWidth"
    before = opened.run(width)
    opened.click(f"{row} .title", clicks=2)
    assert opened.run(width) > 5 * before
    opened.click("#reset")
    assert opened.run(width) == before


def test_light_and_dark(opened: Browser) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    light = opened.run(background)
    opened.prefer(dark=True)
    dark = opened.run(background)
    assert _brightness(light) > 200
    assert _brightness(dark) < 50
    opened.click("#theme")
    assert (text(opened, "#theme"), opened.run(background)) == ("Light", light)
    opened.prefer(dark=False)
    opened.click("#theme")
    assert (text(opened, "#theme"), opened.run(background)) == ("Dark", dark)


def _brightness(color: str) -> float:
    return sum(float(part) for part in color.split("(")[1].rstrip(")").split(",")[:3]) / 3


READ = (
    "h1", "#subtitle", ".tiles dt", ".row:not(.on) .title", ".length", ".tag",
    "#alarm b", ".pill", ".facts dt", ".tabs button", ".kinds button", ".ticks span", ".keys",
)  # fmt: skip


@pytest.mark.parametrize("dark", [False, True])
def test_words_can_be_read(opened: Browser, dark: bool) -> None:
    """Contrast of 4.5 to 1 for text, in both colours (WCAG AA)."""
    opened.prefer(dark=dark)
    for selector in READ:
        ratio = opened.run(CONTRAST % json.dumps(selector))
        assert ratio >= 4.5, (selector, ratio)


CONTRAST = """((selector) => {
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => numbers(color).slice(0, 3).map((c) => c / 255)
    .map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const element = document.querySelector(selector);
  let ground = element;
  while (ground && (numbers(getComputedStyle(ground).backgroundColor)[3] ?? 1) === 0) ground = ground.parentElement;
  const pair = [light(getComputedStyle(element).color), light(getComputedStyle(ground).backgroundColor)].sort();
  return (pair[1] + 0.05) / (pair[0] + 0.05);
})(%s)"""


def test_markup_in_a_trace_is_only_text(chromium: Browser, tmp_path: Path) -> None:
    evil = "<script>window.caught = 1</script><img src=x onerror='window.caught = 2'></script><b id=bold>{{script}}"
    attributes = {
        "dify.app.name": evil, "gen_ai.operation.name": "chat", "gen_ai.request.model": evil, evil: evil,
        "error.type": evil,
        "gen_ai.input.messages": messages(("user", evil), (evil, evil)), "gen_ai.output.messages": evil,
        "dify.usage.cost.total": 1.0, "dify.usage.cost.currency": evil, "dify.node.status": evil,
        "gen_ai.response.finish_reasons": [evil],
    }  # fmt: skip
    event = Event(evil, 0, {"exception.message": evil, "exception.stacktrace": evil, evil: evil})
    bad = span(
        1, 0, evil, 0, 5, attributes,
        status="ERROR", status_message=evil, events=(event,), links=(Link("1" * 32, "2" * 16, {evil: evil}),),
        resource={"service.name": evil, evil: evil}, scope=evil,
    )  # fmt: skip
    show(chromium, tmp_path, [bad, replace(bad, span_id="f" * 16, parent_id=bad.span_id)])
    for key in ("overview", "input", "output", "attributes", "events", "links"):
        chromium.click(f"#tab-{key}")
        assert chromium.run("document.querySelectorAll('#panel script, #panel img, #bold').length") == 0
    chromium.press("/")
    chromium.type("script")
    assert chromium.run("window.caught") is None
    assert text(chromium, ".row .title") == evil
    assert len(chromium.requests) == 1
    assert chromium.problems == []


def test_a_script_that_gets_in_all_the_same_does_not_run(opened: Browser) -> None:
    opened.run(
        "{ const s = document.createElement('script'); s.textContent = 'window.caught = 3'; document.body.append(s); }"
    )
    assert opened.run("window.caught") is None
    assert any("Content Security Policy" in problem for problem in opened.problems)
    opened.problems.clear()


def test_thousands_of_spans_stay_usable(chromium: Browser, tmp_path: Path) -> None:
    spans = [span(1, 0, "request", 0, 5000), *(span(n, n // 3 or 1, f"step {n}", n, n + 9) for n in range(2, 5001))]
    show(chromium, tmp_path, spans)
    assert chromium.run("document.querySelectorAll('.row').length") == 5000
    took = chromium.run(
        "(() => { const begun = performance.now(), box = document.querySelector('#search'); box.value = 'step 4999';"
        " box.dispatchEvent(new Event('input')); document.body.offsetHeight; return performance.now() - begun; })()"
    )
    assert "step 4999" in chromium.run(SHOWN_NAMES)
    assert took < 3_000


def test_a_narrow_window_needs_no_sideways_scrolling(tmp_path: Path) -> None:
    assert PROGRAM
    with Browser(PROGRAM, width=390, height=844) as phone:
        show(phone, tmp_path, request())
        assert phone.run("document.documentElement.scrollWidth") <= 390
        assert phone.run("document.querySelector('#detail').getBoundingClientRect().width") == 390
        assert phone.problems == []
