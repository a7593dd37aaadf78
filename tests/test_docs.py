"""Pages say what holds, and which test holds it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import asyncblock

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "what-blocks-may-do.md").read_text("utf-8")
LIMITS = (ROOT / "docs" / "limits.md").read_text("utf-8")
CLAIMS = re.findall(r"^- .*?(?=^- |^#|\Z)", PAGE, flags=re.M | re.S)
ROWS = [row for row in re.findall(r"^\| .*\|$", LIMITS, flags=re.M) if not row.endswith("| test |")]
NAMED = sorted(set(re.findall(r"\[(test_\w+\.py): (test_\w+)\]", PAGE + LIMITS)))


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim[2:50])
def test_each_line_of_what_blocks_may_do_names_a_test(claim: str) -> None:
    assert re.search(r"\[test_\w+\.py: test_\w+\]", claim), claim


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[2:50])
def test_each_limit_names_the_test_that_tries_it(row: str) -> None:
    assert re.search(r"\| \[test_\w+\.py: test_\w+\] \|$", row), row


@pytest.mark.parametrize(("file", "test"), NAMED, ids=lambda name: name)
def test_the_tests_that_a_page_names_are_there(file: str, test: str) -> None:
    texts = [path.read_text("utf-8") for path in (ROOT / "tests").rglob(file)]
    found = [text for text in texts if re.search(rf"^(async )?def {test}\(", text, flags=re.M)]
    assert len(found) == 1, f"{file} has no {test}"


def test_the_page_has_claims() -> None:
    assert len(CLAIMS) > 25
    assert len(ROWS) > 25
    assert len(NAMED) >= len(CLAIMS)


async def test_the_page_about_flows_is_a_package_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "flows.md").read_text("utf-8")
    files = re.findall(r"^```(?:yaml|python)\n# (\S+)\n(.*?)^```$", page, flags=re.M | re.S)
    for name, text in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert len(files) == 9
    (tmp_path / "orders.csv").write_text("region,amount\nnorth,7\nsouth,100\nnorth,4.5\n")
    monkeypatch.setenv("ASYNCBLOCK_SECRET_MAILER__TOKEN", "12345")
    async with asyncblock.embedded(tmp_path / "data") as mainframe:
        session = await mainframe.start(tmp_path, {"path": str(tmp_path / "orders.csv")})
        assert await session.outputs() == {"sent": "11.50 with a key of 5 letters"}
    assert "12345" not in page


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_files_that_a_page_names_are_there(page: Path) -> None:
    named = re.findall(r"`((?:asyncblock|tests|benchmarks|docs|\.ci)/[\w./-]+)`", page.read_text("utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []
