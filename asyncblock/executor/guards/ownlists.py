"""What lists the tasks of a loop and the children of a process: in an executor process, a job is told of its own.

To cancel or to end whatever they return is how many programs clean up. The other jobs' tasks and pools are in the same
loop and process, and so are the executor's own tasks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from ..attribution.replacing import Patches, Replacements
from ..attribution.tasks import owner
from ..diagnosis.watchdog import context_of
from .blockloop import Guards

__all__ = ["OwnLists"]

Tasks = Callable[[asyncio.AbstractEventLoop | None], set[asyncio.Task[Any]]]


class OwnLists(Replacements):
    """What is replaced in asyncio, and in multiprocessing once that is imported."""

    def __init__(self) -> None:
        children = _Children()
        patches: Patches = {
            "asyncio.tasks": [("all_tasks", _all_tasks)],
            "asyncio": [("all_tasks", _all_tasks)],
            "multiprocessing.process": [
                ("BaseProcess.start", children.starting),
                ("active_children", children.listing),
            ],
        }
        super().__init__(patches)


def _all_tasks(plain: Tasks) -> Tasks:
    def all_tasks(loop: asyncio.AbstractEventLoop | None = None) -> set[asyncio.Task[Any]]:
        loop = loop or asyncio.get_running_loop()
        found, who = plain(loop), owner()
        if who is None or not isinstance(loop, Guards):
            return found
        return {task for task in found if (context := context_of(task)) is not None and owner(context) is who}

    return all_tasks


class _Children:
    """Who has started which process of multiprocessing's."""

    def __init__(self) -> None:
        self._of: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()

    def starting(self, plain: Callable[[Any], None]) -> Callable[[Any], None]:
        def start(process: Any) -> None:
            self._of[process] = owner()
            plain(process)

        return start

    def listing(self, plain: Callable[[], list[Any]]) -> Callable[[], list[Any]]:
        def active_children() -> list[Any]:
            found, who = plain(), owner()
            return found if who is None else [process for process in found if self._of.get(process) in (who, None)]

        return active_children
