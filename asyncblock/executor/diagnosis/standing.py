"""Where a block stands: the author's innermost line of a task that waits, or of a thread that runs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from .origin import Origins

__all__ = ["standing_at"]


def standing_at(task: asyncio.Task[Any], thread: int | None, roots: Sequence[Path]) -> str:
    """Return `` at function (file:line)`` of the thread, or without one of the task; empty when no author is there."""
    frames = list(_of_task(task) if thread is None else _of_thread(thread))
    origins = Origins(roots)
    for frame in reversed(frames):
        code = frame.f_code
        if origins.of(code.co_filename) == "author":
            return f" at {code.co_name} ({code.co_filename}:{frame.f_lineno})"
    return ""


def _of_task(task: asyncio.Task[Any]) -> Iterator[FrameType]:
    """The frames of what the task awaits, from the outermost in."""
    awaited: Any = task.get_coro()
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if isinstance(frame, FrameType):
            yield frame
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)


def _of_thread(thread: int) -> Iterator[FrameType]:
    """The frames of a running thread, from the outermost in."""
    frames = []
    frame = sys._current_frames().get(thread)
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return reversed(frames)
