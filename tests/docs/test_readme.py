"""What the README repeats from the code is what the code says, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

from dify_otel import settings

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def _block(name: str) -> str:
    found = re.search(rf"<!-- {name}:begin -->\n(.*?)<!-- {name}:end -->", README, re.DOTALL)
    assert found, f"README has no block {name}"
    return found.group(1).strip()


def test_the_settings_table_is_that_of_the_code() -> None:
    assert _block("settings-table") == settings.table()


def test_every_setting_that_is_read_is_documented() -> None:
    source = Path(settings.__file__).read_text()
    read = set(re.findall(r'reader\.\w+\(\s*"([A-Z_]+)"', source))
    documented = {s.name for s in settings.DOCUMENTED}
    assert read - documented - {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"} == set()


def test_links_lead_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/**/*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
