"""No public name changes unsaid: what callers would notice stands in the changelog, by its name."""

from __future__ import annotations

import re

import griffe

from .changelog import changes, unreleased
from .names import DEPRECATED, KEPT, lines_of, names


def path_of(line: str) -> str:
    return line.removesuffix(DEPRECATED).partition("(")[0]


def unsaid(before: list[str], now: list[str], said: str) -> list[str]:
    """Return the names that are gone or are called otherwise, and that a text doesn't name as code."""
    words = {word for code in re.findall(r"`([^`]+)`", said) for word in re.findall(r"\w+", code)}
    gone = sorted(set(before) - set(now))
    return [line for line in gone if path_of(line).rpartition(".")[2] not in words]


def unwarned(before: list[str], now: list[str]) -> list[str]:
    """Return the names that are gone and weren't deprecated, by themselves or by what they are of."""
    there = set(map(path_of, now))
    warned = {path_of(line) for line in before if line.endswith(DEPRECATED)}
    gone = [path for path in map(path_of, before) if path not in there]
    return [path for path in gone if not any(path == each or path.startswith(f"{each}.") for each in warned)]


def test_what_is_gone_or_is_called_otherwise_stands_in_the_changelog() -> None:
    before = KEPT.read_text("utf-8").splitlines()
    assert unsaid(before, names(), changes(unreleased())) == [], (
        "say it in a file of changelog.d, as Removed, Deprecated or Changed, with the name as code. What a release has "
        "is noted by python -m tests.release VERSION"
    )


def test_what_is_gone_was_deprecated_in_the_last_release() -> None:
    assert unwarned(KEPT.read_text("utf-8").splitlines(), names()) == [], (
        "keep it for a release, with a DeprecationWarning and a line of its docstring that begins with 'Deprecated'"
    )


def test_a_name_that_goes_a_parameter_that_goes_and_one_that_comes_are_told_apart() -> None:
    before = ["a.f(x)", "a.g(x, y)", "a.C", "a.C.m(self)"]
    now = ["a.f(x)", "a.g(x)", "a.C", "a.new()"]
    assert unsaid(before, now, "") == ["a.C.m(self)", "a.g(x, y)"]
    assert unsaid(before, now, "`g(y)` has no second argument") == ["a.C.m(self)"]
    assert unsaid(before, now, "`C.m` is gone, and so is g's `y` of `g`") == []


def test_what_goes_with_a_warning_and_what_goes_without_are_told_apart() -> None:
    before = ["a.f(x) [deprecated]", "a.g(x)", "a.C() [deprecated]", "a.C.m(self)", "a.D()", "a.h()"]
    assert unwarned(before, ["a.D()", "a.h(x) [deprecated]"]) == ["a.g"]
    assert unsaid(before, ["a.f(x) [deprecated]", "a.g(x) [deprecated]", *before[2:]], "") == ["a.g(x)"]


def test_names_that_warn_are_marked() -> None:
    code = """
from warnings import deprecated

@deprecated("use g")
def f(x): ...

def g(x, *, y=1):
    '''Do it.

    Deprecated: use ``h``.
    '''

class C:
    @deprecated("no")
    def m(self): ...

    def n(self):
        '''Take deprecated names.'''
"""
    with griffe.temporary_visited_module(code) as module:
        found = [line for name in "fgC" for line in lines_of(f"a.{name}", module[name], set())]
    assert found == [
        "a.f(x) [deprecated]",
        "a.g(x, *, y=1) [deprecated]",
        "a.C()",
        "a.C.m(self) [deprecated]",
        "a.C.n(self)",
    ]


def test_only_what_is_said_of_changes_declares_them() -> None:
    text = "### Fixed\n\n- `f`\n\n### Changed\n\n- `g`\n\n### Added\n\n- `h`\n### Removed\n- `i`\n"
    assert re.findall(r"`(.)`", changes(text)) == ["g", "i"]


def test_what_is_public_is_read() -> None:
    found = names()
    assert len(found) > 200
    for beginning in ("asyncblock.Context.output(self, value, handle, done=False, *,", "asyncblock.connect(url=None,"):
        assert any(line.startswith(beginning) for line in found), beginning
    assert "asyncblock.events.SessionFinished.outputs" in found
