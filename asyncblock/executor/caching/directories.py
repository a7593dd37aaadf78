"""Which of many texts may name something: told from lists of directories, as to ask for each takes too long."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from itertools import islice
from typing import Final

__all__ = ["Directories"]

_FIRST: Final = 32
"""How often a directory is asked for before it is listed the first time: a few names are cheaper asked for."""

_ENTRIES: Final = 8
"""Entries that are listed for each time that a directory was asked for: one costs an eighth of a question or less."""

_DIRECTORIES: Final = 10_000
"""Directories that are kept in mind; of what is in others everything may exist."""

_DOTS: Final = re.compile(r"(?:^|/)\.\.?(?:/|$)")
"""A part of a path that is no name."""


class Directories:
    """What is in directories, as long as it may be taken to stay the same: for one value that is looked through.

    A directory that is asked for often is listed, at a cost that stays in proportion to how often that was. What an
    automounter would mount only when it is asked for isn't in a list, so it isn't found then.
    """

    def __init__(self, bases: Sequence[str]) -> None:
        self._bases = bases
        self._known: dict[str, _Directory] = {}
        self._begins: frozenset[str] | None = None
        """How all that is in the bases begins, once they are listed: most texts are told by that alone."""

    def places(self, text: str) -> Sequence[int]:
        """Return in which of the bases, all absolute, a text may name something; of an absolute text, the first."""
        if self._begins is not None and _folded(text.partition("/")[0]) not in self._begins and "/.." not in text:
            return ()
        if text.startswith("/"):
            return (0,) if self._may_hold("", text) else ()
        found = [place for place, base in enumerate(self._bases) if self._may_hold(base, text)]
        if self._begins is None:
            lists = [known.names for base in self._bases if (known := self._known.get(base)) is not None]
            if len(lists) == len(self._bases) and None not in lists:
                self._begins = frozenset(("", ".", "..")).union(*filter(None, lists))
        return found

    def _may_hold(self, base: str, text: str) -> bool:
        if _DOTS.search(text):
            return True  # "gone/../here" names what is here, whether gone exists or not
        at = "/" if text.startswith("/") else base
        for part in text.split("/"):
            if part:
                if not self._has(at, part):
                    return False
                at = f"{at}/{part}"
        return True

    def _has(self, path: str, name: str) -> bool:
        directory = self._known.get(path)
        if directory is None:
            if len(self._known) >= _DIRECTORIES:
                return True
            directory = self._known[path] = _Directory(path)
        names = directory.names
        return True if names is None and (names := directory.ask()) is None else _folded(name) in names


class _Directory:
    """One directory: how often it was asked for, and its names once that was often enough."""

    __slots__ = ("_asked", "_enough", "_path", "names")

    def __init__(self, path: str) -> None:
        self._path = path
        self._asked = 0
        self._enough = _FIRST
        self.names: frozenset[str] | None = None

    def ask(self) -> frozenset[str] | None:
        self._asked += 1
        if self._asked >= self._enough:
            self._enough *= _ENTRIES
            self.names = _listed(self._path, _ENTRIES * self._asked)
        return self.names


def _listed(path: str, most: int) -> frozenset[str] | None:
    """Return the names in a directory; None where they are more than that, or nobody may list them."""
    try:
        with os.scandir(path) as entries:
            names = [entry.name for entry in islice(entries, most + 1)]
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
    except (OSError, ValueError):
        return None  # one may be allowed to open what one may not list
    return None if len(names) > most else frozenset(map(_folded, names))


def _folded(name: str) -> str:
    # File systems take names for the same that differ in case, or in how an accent is written: those of macOS do.
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
