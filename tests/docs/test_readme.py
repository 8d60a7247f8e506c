"""What the README repeats from the code is what the code says: settings, commands, variables, files, links."""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from dify_otel import cli, settings

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/**/*.md")]
COMMAND = re.compile(r"(?<![\w./-])(?:~/[\w-]+/bin/)?dify-otel((?: +(?:'[^']*'|\"[^\"]*\"|[^\s`|#;&)'\"]+))+)")


def _block(name: str) -> str:
    found = re.search(rf"<!-- {name}:begin -->\n(.*?)<!-- {name}:end -->", README, re.DOTALL)
    assert found, f"README has no block {name}"
    return found.group(1).strip()


def _code(text: str) -> Iterator[str]:
    """What a reader may type: lines of shell blocks and pieces between backticks."""
    for fence in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        yield from (line.split("  #")[0] for line in fence.replace("\\\n", " ").splitlines())
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def _commands() -> list[str]:
    found = []
    for page in PAGES:
        for piece in _code(page.read_text("utf-8").replace("\\|", "|")):
            for words in COMMAND.findall(piece):
                if words.split()[0] in cli.COMMANDS or words.split()[0] in ("completion", "version", "--help"):
                    found.append(words.split(" > ")[0].strip())
    return sorted(set(found))


def test_the_settings_table_is_that_of_the_code() -> None:
    assert _block("settings-table") == settings.table()


def test_every_setting_that_is_read_is_documented() -> None:
    source = Path(settings.__file__).read_text()
    read = set(re.findall(r'reader\.\w+\(\s*"([A-Z_]+)"', source))
    documented = {s.name for s in settings.DOCUMENTED}
    assert read - documented - {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"} == set()


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text("utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_anchors_lead_to_a_heading() -> None:
    for page in PAGES:
        for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text("utf-8")):
            aim = (page.parent / target) if target else page
            headings = re.findall(r"^#+ +(.+)$", aim.read_text("utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, (page.name, anchor)


def test_there_are_commands_to_check() -> None:
    found = _commands()
    assert len(found) >= 12
    assert {words.split()[0] for words in found} >= {"tail", "doctor", "env", "completion"}


@pytest.mark.parametrize("words", _commands())
def test_every_command_is_understood(words: str) -> None:
    # A bare command, or one with an ellipsis, speaks of the command: then only what is written must exist.
    arguments = [word for word in shlex.split(words) if word != "…"]
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            cli._parser(arguments[0]).parse_args(arguments)
    except SystemExit as ended:
        allowed = ("…" in words or len(arguments) == 1) and "required" in said.getvalue()
        assert ended.code == 0 or allowed, f"dify-otel {words}\n{said.getvalue()}"


def test_every_option_of_tail_that_readers_meet_is_one() -> None:
    parser = argparse.ArgumentParser()
    from dify_otel.tail.command import add_arguments

    add_arguments(parser)
    known = {option for action in parser._actions for option in action.option_strings}
    page = (ROOT / "docs" / "looking.md").read_text("utf-8")
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", page)) <= known


def test_every_variable_is_read_by_something() -> None:
    """A variable the reader is told of is a setting of ours, or stands in the code, in deploy/ or in the build."""
    places = [ROOT / "Makefile", *(ROOT / "bootstrap").rglob("*.py"), *(ROOT / "deploy").rglob("*")]
    code = "\n".join(p.read_text("utf-8", errors="ignore") for p in places if p.is_file() and p.suffix != ".md")
    told = set(re.findall(r"\b(?:DIFY_OTEL|OTEL|ENABLE_OTEL)[A-Z_]*\b", README))
    assert {name for name in told if name not in code} - {s.name for s in settings.DOCUMENTED} == set()


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in (ROOT / "README.md", *ROOT.glob("docs/*.md")):
        assert set(re.findall(r"`make ([a-z-]+)`", page.read_text("utf-8"))) <= targets, page.name


def test_paths_into_the_checkout_exist() -> None:
    """`/path/to/dify-otel/x` and the bare `deploy/x`, `tests/x`, `docs/x` of code are files of this project."""
    for page in (ROOT / "README.md", *ROOT.glob("docs/*.md")):
        for piece in _code(page.read_text("utf-8")):
            for path in re.findall(r"(?:/path/to/dify-otel/|(?<![\w/.-]))((?:deploy|tests|docs)/[\w./-]+\w)", piece):
                assert (ROOT / path).exists(), f"{page.name}: {path}"
