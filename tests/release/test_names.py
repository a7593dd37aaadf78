"""No public name changes unsaid: what callers would notice stands in the changelog, by its name."""

from __future__ import annotations

import re

from .names import KEPT, ROOT, names


def unreleased() -> str:
    """Return what the changelog says of the next release."""
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    return text.partition("## Unreleased\n")[2].partition("\n## ")[0]


def unsaid(before: list[str], now: list[str], said: str) -> list[str]:
    """Return the names that are gone or are called otherwise, and that a text doesn't name as code."""
    words = {word for code in re.findall(r"`([^`]+)`", said) for word in re.findall(r"\w+", code)}
    gone = sorted(set(before) - set(now))
    return [line for line in gone if line.partition("(")[0].rpartition(".")[2] not in words]


def test_what_is_gone_or_is_called_otherwise_stands_in_the_changelog() -> None:
    before = KEPT.read_text("utf-8").splitlines()
    assert unsaid(before, names(), unreleased()) == [], (
        "say it in CHANGELOG.md under Unreleased, with the name as code; a name is deprecated in one release, with a "
        "warning, before it is gone in the next. What a release has is noted by python -m tests.release"
    )


def test_a_name_that_goes_a_parameter_that_goes_and_one_that_comes_are_told_apart() -> None:
    before = ["a.f(x)", "a.g(x, y)", "a.C", "a.C.m(self)"]
    now = ["a.f(x)", "a.g(x)", "a.C", "a.new()"]
    assert unsaid(before, now, "") == ["a.C.m(self)", "a.g(x, y)"]
    assert unsaid(before, now, "`g(y)` has no second argument") == ["a.C.m(self)"]
    assert unsaid(before, now, "`C.m` is gone, and so is g's `y` of `g`") == []


def test_what_is_public_is_read() -> None:
    found = names()
    assert len(found) > 200
    for beginning in ("asyncblock.Context.output(self, value, handle, done=False, *,", "asyncblock.connect(url=None,"):
        assert any(line.startswith(beginning) for line in found), beginning
    assert "asyncblock.events.SessionFinished.outputs" in found or any("SessionFinished" in line for line in found)
