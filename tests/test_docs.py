"""Pages say what holds, and which test holds it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

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
