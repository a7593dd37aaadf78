"""Syntax trees of authors' files, from any thread."""

from __future__ import annotations

import ast
from typing import Final

from ..runtime.forks import fresh_lock

__all__ = ["parse"]

_LOCK: Final = fresh_lock()


def parse(source: bytes, filename: str) -> ast.Module:
    """Return a file's tree. Raises ``SyntaxError`` with file and line, and ``ValueError`` for null bytes.

    Until 3.11.8 and 3.12.2, CPython kept the depth of the conversion in one place for all threads: a thread that
    parses while another one does may get a ``SystemError`` that says nothing of the source.
    """
    with _LOCK:
        try:
            return ast.parse(source, filename)
        except SystemError:
            # Somebody else's code parses too, and knows nothing of the lock.
            return ast.parse(source, filename)
