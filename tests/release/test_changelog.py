"""Fragments: each is one, and a release takes up all that was said, once and word for word."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from .changelog import collect, faults, fragments, unreleased
from .names import ROOT


def items(text: str) -> list[str]:
    """Return the items of all lists, in the order of their words."""
    return sorted(" ".join(each.split()) for each in re.findall(r"^- .*(?:\n  .*)*", text, flags=re.MULTILINE))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What of the project tells of its changes."""
    for name in ("CHANGELOG.md", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "changelog.d", tmp_path / "changelog.d")
    return tmp_path


@pytest.mark.parametrize("fragment", fragments(), ids=lambda path: path.name)
def test_a_fragment_is_one(fragment: Path) -> None:
    assert faults(fragment.read_text("utf-8")) == []


def test_a_release_takes_up_all_that_was_said(tree: Path) -> None:
    (tree / "changelog.d" / "20300101_more.md").write_text("### Fixed\n\n- `more` is\n  less.\n")
    before = unreleased(tree)
    earlier = (tree / "CHANGELOG.md").read_text()
    collect("7.8.9", tree)
    text = (tree / "CHANGELOG.md").read_text()
    assert text.startswith(earlier.partition("## Unreleased")[0])
    assert len(re.findall(r"^## ", text, flags=re.MULTILINE)) == 1
    section = text.partition("\n## 7.8.9 - ")[2]
    assert items(section) == items(before)
    assert "- `more` is less." in items(section)
    assert (fragments(tree), unreleased(tree)) == ([], "")


def test_the_next_release_stands_above(tree: Path) -> None:
    collect("7.8.9", tree)
    before = (tree / "CHANGELOG.md").read_text().partition("\n## 7.8.9")[2]
    (tree / "changelog.d" / "20300101_more.md").write_text("### Removed\n\n- `f` is gone.\n")
    assert unreleased(tree).split() == ["###", "Removed", "-", "`f`", "is", "gone."]
    collect("7.9.0", tree)
    text = (tree / "CHANGELOG.md").read_text()
    assert text.index("\n## 7.9.0 - ") < text.index("- `f` is gone.") < text.index("\n## 7.8.9")
    assert text.partition("\n## 7.8.9")[2] == before


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "says nothing"),
        ("<!--\n### Added\n\n- x\n-->\n", "says nothing"),
        ("- x\n", "before any section"),
        ("### Mended\n\n- x\n", "is none of"),
        ("## Fixed\n\n- x\n", "is none of"),
        ("### Fixed\n\nx\n", "no item"),
        ("### Fixed\n", "no item"),
    ],
)
def test_what_is_no_fragment_is_told(text: str, word: str) -> None:
    [fault] = faults(text)
    assert word in fault
