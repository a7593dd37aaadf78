"""What went wrong, in the author's terms: a traceback that begins at the author's code, and a line that sums it up.

Which frames stay, for the exception and for each of its causes and parts:

* what stands above the first frame of a block package goes, or where there is none, above the first frame that is
  neither asyncblock's nor Python's own;
* below it everything stays - libraries and the standard library too, for the cause is often there - except the import
  machinery and asyncblock. asyncblock's frames stay when something else than an error of its own tree came out of
  it: that is a bug of ours, and no message explains it;
* an error without any frame of an author is shown without frames when it is asyncblock's own or a syntax error, whose
  message has the place, and whole otherwise.
"""

from __future__ import annotations

import asyncio
import re
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from ...errors import AsyncBlockError
from .origin import Origins

__all__ = ["MAX_TRACEBACK", "author_traceback", "finish_fields", "further_lines", "missing_extra", "summary"]

MAX_TRACEBACK = 64 << 10
"""Bytes of a traceback's text: what a record carries inline. The middle is what goes."""

_MAX_SUMMARY = 1000
_MAX_FRAMES = 2000
"""Frames that are looked at from the innermost on: above the default recursion limit, and a bound beyond it."""

_BETWEEN: Final = re.compile(r"[/\\](?:site|dist)-packages[/\\]anyio[/\\]")
"""Files by which asyncblock calls itself on another thread."""

_MAX_PARTS = 3
"""Errors of a group that its summary names."""


def finish_fields(exc: BaseException, *, roots: Sequence[Path], clean: Callable[[str], str]) -> dict[str, str]:
    """Return what a job's finish says of the error that ended it. Never raises."""
    return {
        "error": summary(exc, clean) + further_lines(exc) + missing_extra(exc),
        "error_type": type(exc).__name__,
        "traceback": author_traceback(exc, roots=roots, clean=clean),
    }


def author_traceback(exc: BaseException, *, roots: Sequence[Path], clean: Callable[[str], str] = str) -> str:
    """Return the traceback's text with the author's frames; ``roots`` are the directories of block packages.

    At most 64 KiB, always encodable, with causes, groups and notes. ``clean`` sees the text before it is cut. Never
    raises.
    """
    try:
        shown = traceback.TracebackException.from_exception(exc, limit=-_MAX_FRAMES, compact=True)
        _select_all(shown, exc, Origins(roots))
        return _cut(clean("".join(shown.format())))
    except Exception as error:
        # Formatting runs the author's code: __str__ and __repr__ of exceptions, and __getattr__ of what they hold.
        return f"{summary(exc, clean)}\n(its traceback can't be shown: {summary(error, clean)})"


def summary(exc: BaseException, clean: Callable[[str], str] = str) -> str:
    """Return one line, ``ValueError: what it says``; ``clean`` sees what it says before it is cut. Never raises."""
    words = clean(_first_line(exc))
    if isinstance(exc, BaseExceptionGroup):
        parts = [summary(part, clean) for part in exc.exceptions[:_MAX_PARTS]]
        if len(exc.exceptions) > _MAX_PARTS:
            parts.append("...")
        words = f"{words}: {'; '.join(parts)}"
    line = f"{type(exc).__name__}: {words}" if words else type(exc).__name__
    return line if len(line) <= _MAX_SUMMARY else f"{line[:_MAX_SUMMARY]}..."


def _first_line(exc: BaseException) -> str:
    try:
        lines = str(exc).strip().splitlines()
    except Exception as error:
        return f"(its text can't be had: str() raised {type(error).__name__})"
    return _encodable(lines[0]).strip() if lines else ""


def further_lines(exc: BaseException) -> str:
    """Return a word of the lines that a summary leaves out; "" where there are none. Never raises."""
    try:
        further = len(str(exc).strip().splitlines()) - 1
    except Exception:
        # str() is the author's code and may raise; the summary has said so already.
        return ""
    return f" (and {further} more {'line' if further == 1 else 'lines'})" if further > 0 else ""


_EXTRAS: Final = {
    **dict.fromkeys(("pandas", "matplotlib"), "preview"),
    "pyarrow": "cache",
    "jsonschema_rs": "schema",
    **dict.fromkeys(("fastapi", "uvicorn"), "service"),
    **dict.fromkeys(("typer", "rich"), "cli"),
    "uvloop": "fast",
    "oocana": "oocana",
}
"""What brings modules that may be missing."""


def missing_extra(exc: BaseException) -> str:
    """Return how a module that is missing can be had; "" where asyncblock doesn't know. Never raises."""
    name = getattr(exc, "name", None) if isinstance(exc, ModuleNotFoundError) else None
    extra = _EXTRAS.get(str(name).partition(".")[0])
    return "" if extra is None else f"; it comes with pip install 'asyncblock[{extra}]'"


def _select_all(shown: traceback.TracebackException, exc: BaseException, origins: Origins) -> None:
    waiting: list[tuple[traceback.TracebackException, BaseException]] = [(shown, exc)]
    while waiting:
        each, error = waiting.pop()
        each.stack = traceback.StackSummary.from_list(_select(list(each.stack), error, origins))
        for cause, its in ((each.__cause__, error.__cause__), (each.__context__, error.__context__)):
            if cause is not None and its is not None:
                waiting.append((cause, its))
        if each.exceptions and isinstance(error, BaseExceptionGroup):
            waiting += zip(each.exceptions, error.exceptions, strict=True)


def _select(
    frames: list[traceback.FrameSummary], error: BaseException, origins: Origins
) -> list[traceback.FrameSummary]:
    begin = _first_author(frames, origins, by_us=isinstance(error, AsyncBlockError))
    if begin is None:
        begin = len(frames) if isinstance(error, (AsyncBlockError, SyntaxError)) else 0
    kept = frames[begin:]
    keeps_ours = _is_bug_of_ours(kept, error, origins)
    return [
        frame
        for frame in kept
        if not frame.filename.startswith("<frozen importlib") and (keeps_ours or origins.of(frame.filename) != "ours")
    ]


def _is_bug_of_ours(frames: Sequence[traceback.FrameSummary], error: BaseException, origins: Origins) -> bool:
    if isinstance(error, (AsyncBlockError, SyntaxError, asyncio.CancelledError)):
        return False
    for frame in reversed(frames):
        origin = origins.of(frame.filename)
        if origin != "python":
            return origin == "ours"
    return False


def _first_author(frames: Sequence[traceback.FrameSummary], origins: Origins, *, by_us: bool) -> int | None:
    for index, frame in enumerate(frames):
        if origins.is_block_file(frame.filename):
            return index
    for index, frame in enumerate(frames):
        # Of our own errors those frames say nothing that stand between two of ours.
        if origins.of(frame.filename) in ("author", "library") and not (by_us and _BETWEEN.search(frame.filename)):
            return index
    return None


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _cut(text: str) -> str:
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= MAX_TRACEBACK:
        return data.decode()
    # Room for the words in between.
    half = MAX_TRACEBACK // 2 - 50
    head = data[:half].decode("utf-8", "ignore")
    tail = data[-half:].decode("utf-8", "ignore")
    return f"{head}\n... {len(data) - 2 * half} bytes left out ...\n{tail}"
