"""Whose code a file is. Tracebacks and the watchdog name the author's lines, not the machinery around them."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

__all__ = ["Origin", "Origins"]

Origin = Literal["author", "ours", "python", "library"]
"""``author``: a block package or the user's own code; ``ours``: asyncblock; ``python``: the interpreter and the
standard library; ``library``: whatever else is installed."""

_OURS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep
_EXAMPLES = os.path.join(_OURS, "examples") + os.sep
_PYTHON = tuple(sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib"))
_INSTALLED = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))

_MAX_KNOWN = 1024
"""File names that are remembered."""


class Origins:
    """Tells whose code a file is, with ``roots`` as the directories of block packages."""

    def __init__(self, roots: Sequence[Path] = ()) -> None:
        both = {str(form) for root in roots for form in (root.absolute(), root.resolve())}
        self._roots = tuple(sorted(path.rstrip(os.sep) + os.sep for path in both))
        self._known: dict[str, Origin] = {}

    def of(self, filename: str) -> Origin:
        """Return whose code it is, by the file name of a code object."""
        origin = self._known.get(filename)
        if origin is None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            origin = self._known[filename] = self._of(filename)
        return origin

    def is_block_file(self, filename: str) -> bool:
        """Tell whether the file is a block package's own: under a root, and not in an environment inside it."""
        for root in self._roots:
            if filename.startswith(root):
                return not _is_installed(os.sep + filename[len(root) :])
        return False

    def _of(self, filename: str) -> Origin:
        if self.is_block_file(filename):
            return "author"
        if filename.startswith(_OURS):
            return "author" if filename.startswith(_EXAMPLES) else "ours"
        if _is_installed(filename):
            return "library"
        if filename.startswith(("<frozen ", *_PYTHON)):
            return "python"
        return "author"


def _is_installed(path: str) -> bool:
    return any(part in path for part in _INSTALLED)
