"""The laws of the house. Where one doesn't hold yet its count may only fall: who mends lowers the number here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .laws import LAWS, Law, circles
from .source import ROOT, Module, modules

BROKEN: dict[str, int] = {}
"""How often each law is broken; a law that isn't named here holds."""


@pytest.fixture(scope="module")
def house() -> list[Module]:
    return modules()


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.words)
def test_a_law_holds_or_is_broken_no_more_often_than_before(law: Law, house: list[Module]) -> None:
    broken = law.broken(house)
    most = BROKEN.get(law.words, 0)
    assert len(broken) <= most, "\n".join([f"{law.words}: {len(broken)} break it, {most} may; {law.mend}", *broken])


def test_the_table_names_laws_that_are_there() -> None:
    assert set(BROKEN) <= {law.words for law in LAWS}


def test_the_page_about_the_house_names_files_that_are_there_and_each_law() -> None:
    page = (ROOT.parent / "docs" / "architecture.md").read_text("utf-8")
    named = re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.py)`", page)
    assert len(named) > 30
    assert [name for name in named if not ((ROOT.parent / name).exists() or (ROOT / name).exists())] == []
    steps = re.findall(r"^\| \d+ \| `([^`]+)`", page, flags=re.M)
    assert len(steps) == len(set(steps))
    assert [law.words for law in LAWS if f"| {law.words} |" not in page] == []


def test_a_circle_is_found_whatever_its_length() -> None:
    class Fake(Module):
        def imported(self, known: set[str]) -> set[str]:
            return needs[self.name]

        @property
        def name(self) -> str:
            return self.path.name

    needs = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set(), "e": {"d", "a"}, "f": {"g"}, "g": {"f"}}
    assert circles([Fake(Path(name)) for name in needs]) == [["a", "b", "c"], ["f", "g"]]
