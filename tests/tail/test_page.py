"""The page as a file: whole, alone, and with nothing of a span's text as markup. What it does is in test_browser.py."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import stat
from html.parser import HTMLParser
from pathlib import Path

from dify_otel.tail.page import page
from dify_otel.tail.saved import Pages
from dify_otel.tail.tree import build
from hypothesis import example, given, settings
from hypothesis import strategies as st

from .sample import request, span


class Elements(HTMLParser):
    """Every start tag with its attributes, and the text inside the data element."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.data = ""
        self.feed(document)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] == ("script", {"type": "application/json", "id": "trace"}):
            self.data += data


def test_it_needs_nothing_else() -> None:
    elements = Elements(page(build(request())))
    for tag, attributes in elements.tags:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            assert attributes.get(name) in (None, "data:,"), (tag, attributes)
    assert "@import" not in page(build(request()))
    assert not re.search(r"url\(", page(build(request())))


def test_the_policy_allows_our_own_style_and_script_only() -> None:
    document = page(build(request()))
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', document)
    style = re.search(r"<style>(.*?)</style>", document, re.DOTALL)
    script = re.search(r"<script>(.*?)</script>", document, re.DOTALL)
    for part in (style, script):
        assert part is not None
        digest = base64.b64encode(hashlib.sha256(part[1].encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_the_script_writes_text_never_markup() -> None:
    script = page(build(request())).rpartition("<script>")[2]
    code = re.sub(r"^\s*//.*$", "", script, flags=re.MULTILINE)
    for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "fetch(", "XMLHttp"):
        assert forbidden not in code


@example("</script><script>alert(1)</script>", "<!--<script>")
@given(st.text(alphabet="<>/!-\"'&script \u2028{}", max_size=40), st.text(max_size=20))
@settings(max_examples=100, deadline=None)
def test_no_name_changes_the_document(name: str, value: str) -> None:
    plain = Elements(page(build([span(1, 0, "s", 0, 1, {"dify.app.name": "a", "k": "v"})])))
    odd = Elements(page(build([span(1, 0, name, 0, 1, {"dify.app.name": name, "k": value})])))
    assert odd.tags == plain.tags
    (shown,) = json.loads(odd.data)["spans"]
    assert shown.get("name", "") == name


def test_a_name_that_looks_like_a_place_in_the_template_is_only_text() -> None:
    document = page(build([span(1, 0, "{{script}} {{data}}", 0, 1)]))
    assert json.loads(Elements(document).data)["title"] == "{{script}} {{data}}"


def test_odd_figures_make_no_odd_json() -> None:
    odd = {"gen_ai.usage.input_tokens": float("nan"), "x": float("inf"), "y": b"\xff\x00", "z": [{"a": None}]}
    json.loads(Elements(page(build([span(1, 0, "s", 5, 1, odd)]))).data, parse_constant=lambda word: 1 / 0)


def test_content_stands_in_its_tab_and_not_again_among_the_attributes() -> None:
    shown = json.loads(Elements(page(build(request()))).data)
    assert shown["has_content"]
    answer = next(one for one in shown["spans"] if one["name"] == "chat stub-chat" and "support desk" in str(one))
    assert "gen_ai.input.messages" not in dict(answer["attributes"])
    assert "gen_ai.usage.input_tokens" in dict(answer["attributes"])
    without = json.loads(Elements(page(build(request(content=False)))).data)
    assert not without["has_content"]
    assert not any("input" in one or "output" in one for one in without["spans"])


def test_one_file_is_always_the_latest(tmp_path: Path) -> None:
    pages = Pages(str(tmp_path / "new" / "last.html"))
    pages.prepare()
    first = pages.save(build(request()))
    assert first == pages.save(build([span(1, 0, "second", 0, 1)]))
    assert "<title>second · 1 ms</title>" in first.read_text("utf-8")
    assert stat.S_IMODE(first.stat().st_mode) == 0o600
    assert [path.name for path in first.parent.iterdir()] == ["last.html"]


def test_a_directory_gets_one_each_and_a_list(tmp_path: Path) -> None:
    pages = Pages(f"{tmp_path}/traces/")
    pages.prepare()
    saved = [
        pages.save(build([span(1, 0, "s", 0, 1, {"dify.app.name": name}, trace_id=f"{at:08x}" + "0" * 24)]))
        for at, name in enumerate(["../../etc/passwd", "客服 助手", "<b>bold</b>", "a/b\\c"])
    ]
    assert all(path.parent == tmp_path / "traces" for path in saved)
    index = (tmp_path / "traces" / "index.html").read_text("utf-8")
    links = [attributes["href"] for tag, attributes in Elements(index).tags if tag == "a"]
    assert links == [path.name for path in reversed(saved)]
    assert "<b>bold</b>" not in index
    assert "客服" in saved[1].name
