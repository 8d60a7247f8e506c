"""The support table says what the seam table says, and the README shows it as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from dify_otel import releases, support
from dify_otel_instrumentors.core.operation import Seam, Tap
from dify_otel_instrumentors.seams import SEAMS

ROOT = Path(__file__).resolve().parents[2]


def test_readme_shows_the_generated_table() -> None:
    shown = support.embedded((ROOT / "README.md").read_text("utf-8"))
    if not shown:
        pytest.skip(f"README.md has no {support.BEGIN} … {support.END} with a table yet")
    assert shown == support.table(), "run: python -m dify_otel.support --write README.md"


def test_every_release_is_in_exactly_one_row() -> None:
    rows = [line.split("|")[1].strip() for line in support.table({}).splitlines()[2:]]
    names = [r.name for r in releases.RELEASES]
    covered = []
    for row in rows:
        first, _, last = row.partition(" – ")
        covered += names[names.index(first) : names.index(last or first) + 1]
    assert covered == names


def test_verification_splits_a_row() -> None:
    lines = support.table({"1.11.4": "run on real Dify 2026-11-22"}).splitlines()
    row = next(line for line in lines if line.startswith("| 1.11.4 |"))
    assert row.endswith("| run on real Dify 2026-11-22 |")
    assert sum("run on real Dify" in line for line in lines) == 1


def test_no_column_is_half_true() -> None:
    cells = [c.strip() for line in support.table({}).splitlines()[2:] for c in line.split("|")[4:-2]]
    assert set(cells) == {"✓", "–"}


def test_every_name_in_the_columns_exists() -> None:
    known = {s.name for s in SEAMS} | {s.name.partition(".")[0] for s in SEAMS}
    assert {name for _, names in support.FEATURES for name in names} <= known


@pytest.mark.parametrize(
    ("spans", "release", "expected"),
    [
        (("1.6.0-",), "1.6.0", True),
        (("1.6.0-",), "main", True),
        (("1.9.0-1.13.0",), "1.13.0", True),
        (("1.9.0-1.13.0",), "1.13.1", False),
        (("1.9.0-1.13.0",), "main", False),
        (("1.10.1-",), "1.10.1-fix.1", True),
        (("1.10.0-",), "1.9.2", False),
        (("1.6.0-1.8.1", "1.14.0-"), "1.9.0", False),
        (("1.6.0-1.8.1", "1.14.0-"), "1.15.0", True),
    ],
)
def test_claims(spans: tuple[str, ...], release: str, expected: bool) -> None:
    assert releases.claims(Seam("x", Tap(), (), spans), release) is expected


def test_the_table_can_be_put_into_a_file(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text(f"before\n{support.BEGIN}\nold\n{support.END}\nafter\n")
    assert support.main(["--write", str(file)]) == 0
    text = file.read_text("utf-8")
    assert support.embedded(text) == support.table()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    file.write_text("no markers")
    assert support.main(["--write", str(file)]) == 2
