"""What a block leaves behind: tasks that fail and that nobody awaits, tasks that go on when it has returned.

While the job is open its log has them; afterwards there is no place in the journal for it any more, and the executor's
own log names node and job.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

from .failure import author_traceback, further_lines, summary
from .origin import Origins

__all__ = ["Leftovers"]

logger = logging.getLogger("asyncblock.executor")

_MAX_NAMED = 5
"""Tasks that a warning names."""


class Leftovers:
    """The tasks that one block has started. On the executor's loop; holds none of them."""

    __slots__ = ("_clean", "_coroutines", "_roots", "_who")

    def __init__(self, who: str, roots: Callable[[], Sequence[Path]], clean: Callable[[str], str]) -> None:
        self._who = who
        self._roots = roots
        self._clean = clean
        # Weakly: a task that the author has let go of is no leftover, and mustn't be kept alive by the look for some.
        self._coroutines: weakref.WeakKeyDictionary[asyncio.Task[Any], Coroutine[Any, Any, Any]] = (
            weakref.WeakKeyDictionary()
        )

    def add(self, task: asyncio.Task[Any], coroutine: Coroutine[Any, Any, Any]) -> None:
        """Take note of a task of the block's."""
        self._coroutines[task] = coroutine

    def failed(self, task: asyncio.Task[Any], error: BaseException, line: Callable[[str], object] | None) -> None:
        """Tell of an error that nobody has asked for; ``line`` is the job's log while it is open."""
        text = author_traceback(error, roots=self._roots(), clean=self._clean).rstrip()
        coroutine = self._coroutines.get(task)
        name = getattr(coroutine, "__qualname__", "a coroutine")
        if line is None:
            logger.error("%s has ended, and its task %s failed:\n%s", self._who, name, text)
            return
        line(f"the task {name}, which is never awaited, failed: {summary(error, self._clean)}{further_lines(error)}")
        for each in text.splitlines():
            line(each)

    def failures(self) -> Iterator[tuple[asyncio.Task[Any], BaseException]]:
        """Return the errors of tasks that have ended and that nobody has asked for; they count as asked for then."""
        for task in list(self._coroutines):
            if task.done() and not task.cancelled() and getattr(task, "_log_traceback", False):
                error = task.exception()
                if error is not None:
                    yield task, error

    def still_running(self) -> str | None:
        """Say which tasks of the author's still run; None when none does. What libraries keep running isn't told."""
        origins = Origins(self._roots())
        left = [
            place
            for task, coroutine in list(self._coroutines.items())
            if not task.done() and (place := _place(coroutine, origins)) is not None
        ]
        if not left:
            return None
        named = ", ".join(left[:_MAX_NAMED]) + (f" and {len(left) - _MAX_NAMED} more" if len(left) > _MAX_NAMED else "")
        what = "a task" if len(left) == 1 else f"{len(left)} tasks"
        return (
            f"the block has returned while {what} of it still ran: {named}. What comes of it from here on is no part "
            "of the job: await or cancel it before returning, or return ctx.keepAlive"
        )


def _place(coroutine: Coroutine[Any, Any, Any], origins: Origins) -> str | None:
    code, frame = getattr(coroutine, "cr_code", None), getattr(coroutine, "cr_frame", None)
    if code is None or origins.of(code.co_filename) != "author":
        return None
    line = code.co_firstlineno if frame is None else frame.f_lineno
    return f"{code.co_qualname} ({Path(code.co_filename).name}:{line})"
