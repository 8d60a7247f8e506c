"""The pictures in the README are of the real trace beside this file, as the code of today shows it, and call nobody."""

from __future__ import annotations

import json
import re
import struct
import unicodedata
from pathlib import Path
from xml.etree import ElementTree

import pytest
from dify_otel.tail.page import page
from dify_otel.tail.render import render

from tests.docs import picture
from tests.tail import browser

ROOT = Path(__file__).resolve().parents[2]
SVG = "{http://www.w3.org/2000/svg}"


def _shown(svg: str) -> list[str]:
    """The lines of text of the picture, from their places: column = x / 12.2."""
    lines: dict[str, list[tuple[float, str]]] = {}
    for text in ElementTree.fromstring(svg).iter(f"{SVG}text"):
        if "line" in text.get("clip-path", ""):
            lines.setdefault(text.get("y", ""), []).append((float(text.get("x", "0")), "".join(text.itertext())))
    out = []
    for _, parts in sorted(lines.items(), key=lambda item: float(item[0])):
        row = ""
        for x, words in sorted(parts):
            row = row.ljust(round(x / 12.2)) + words.rstrip("\n")
        out.append(unicodedata.normalize("NFKC", row).rstrip())
    return out


def test_the_readme_shows_it() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    (shown,) = re.findall(r"<!-- picture:begin -->\s*!\[[^]]{20,}\]\(([^)]+)\)", readme)
    assert (ROOT / shown) == picture.SVG
    assert picture.SVG.stat().st_size < 200_000


def test_the_picture_says_what_tail_prints() -> None:
    printed = render(picture.trace(), color=False, width=picture.WIDTH).rstrip("\n").split("\n")
    expected = [unicodedata.normalize("NFKC", line).rstrip() for line in printed]
    assert [line for line in _shown(picture.SVG.read_text("utf-8")) if line] == [line for line in expected if line]


def test_making_it_again_makes_the_same_rows() -> None:
    assert _shown(picture.svg(picture.trace())) == _shown(picture.SVG.read_text("utf-8"))


def test_the_trace_is_a_whole_request() -> None:
    trace = picture.trace()
    names = [node.span.name for node in trace.nodes]
    assert trace.complete
    assert [node.span.name for node in trace.nodes if node.orphan] == []
    assert names[0].startswith("POST /v1/")
    for part in ("dify.app", "run/", "invoke_workflow", "knowledge-retrieval", "llm ", "chat ", "execute_tool"):
        assert any(name.startswith(part) for name in names), part
    services = {node.span.service for node in trace.nodes}
    assert {"dify-api", "dify-worker"} <= services


def test_the_trace_tells_nothing_of_the_machine_it_came_from() -> None:
    text = picture.SAVED.read_text("utf-8")
    json.loads(text)
    for pattern in (r"/root/", r"/home/", r"/work/", r"app-[A-Za-z0-9]{20,}", r"(?i)bearer ", r"(?i)password"):
        assert not re.search(pattern, text), pattern


def test_the_picture_asks_nothing_of_a_network() -> None:
    svg = picture.SVG.read_text("utf-8")
    assert set(re.findall(r"https?://[^\s\"'<>)]+", re.sub(r">[^<]*<", "><", svg))) <= {"http://www.w3.org/2000/svg"}
    assert "@import" not in svg
    assert "url(http" not in svg


def test_the_screenshot_is_small_and_a_picture() -> None:
    data = picture.PNG.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(data) < 200_000
    assert struct.unpack(">II", data[16:24]) == (1280, 760)


@pytest.mark.browser
@pytest.mark.skipif(browser.find() is None, reason="no Chromium")
def test_both_open_in_a_browser_without_a_request(tmp_path: Path) -> None:
    program = browser.find()
    assert program
    saved = tmp_path / "page.html"
    saved.write_text(page(picture.trace()), "utf-8")
    with browser.Browser(program) as opened:
        for file in (picture.SVG, saved):
            opened.open(file)
            assert [url for url in opened.requests if not url.startswith(("file:", "data:"))] == []
            assert opened.problems == []
