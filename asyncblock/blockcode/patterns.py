"""Patterns that name files of a package, as in a ``.gitignore``: which of them count as code, and which don't."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["Rules"]


class Rules:
    """Which files an author counts as code, or doesn't."""

    def __init__(self, include: list[str], exclude: list[str]) -> None:
        self._include = [_regex(each) for each in include]
        self._exclude = [_regex(each) for each in exclude]
        self._begins = [_begin(each) for each in include]

    def excludes(self, name: str) -> bool:
        """Tell whether a file or directory isn't code."""
        return any(each.fullmatch(name) for each in self._exclude)

    def includes(self, name: str) -> bool:
        """Tell whether a file counts whatever it is."""
        return any(each.fullmatch(name) for each in self._include)

    def reach(self, name: str) -> bool:
        """Tell whether a directory is named in which nobody would look for code."""
        return self.includes(name) or any(begin == name or begin.startswith(f"{name}/") for begin in self._begins)


def _regex(pattern: str) -> re.Pattern[str]:
    """Translate a pattern.

    One with a slash in it begins at the root, others match a name anywhere. ``*`` and ``?`` stay in a name, ``**`` is
    any number of directories, and what matches a directory matches all below it. No wildcard stands for the dot of a
    hidden file.
    """
    inner = pattern.strip("/")
    made = "" if "/" in pattern.rstrip("/") else "(?:.*/)?"
    for part in inner.split("/"):
        if part == "**":
            made += r"(?:(?!\.)[^/]+/)*"
        else:
            made += (r"(?!\.)" if part[0] in "*?" else "") + _TOKEN.sub(_translated, part) + "/"
    # What ends with ** means everything below.
    made = f"{made}.+" if inner.endswith("**") else f"{made[:-1]}(?:/.*)?"
    return re.compile(made, re.DOTALL)


_TOKEN: Final = re.compile(r"\*+|.", re.DOTALL)


def _translated(token: re.Match[str]) -> str:
    text = token[0]
    if text[0] == "*":
        return "[^/]*"
    return "[^/]" if text == "?" else re.escape(text)


def _begin(pattern: str) -> str:
    """Return the directories that a pattern names before its first wildcard."""
    parts = []
    for part in pattern.strip("/").split("/"):
        if any(each in part for each in "*?"):
            break
        parts.append(part)
    return "/".join(parts)
