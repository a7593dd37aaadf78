"""Spilling: portable values that no job has make room in memory; files on the disk stand in their place.

It begins when a block waits for room, with the value that was used least recently. One is written after the other, on a
worker thread, up to a limit of the setting's, and as long as enough of the disk is left to others. A disk that takes no
more is no failure: it is said, and asked again as long as somebody waits.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Callable
from typing import Final

from ...childprocesses.hostmemory import DISK_SETTING, var_disk_limit
from ...runtime import offload
from ...store import KeptValue, StoreKey
from ...varvalues.filed import Filed
from ...varvalues.valueid import ValueId
from ..environment import Environment
from .gradualfree import free_gradually

__all__ = ["Spilling", "disk_limit_here", "id_of"]

logger = logging.getLogger("asyncblock.executor")

_PAUSES: Final = (0.5, 30.0)
"""Seconds before a disk is asked again that took no more: the first pause, doubled each time, and the longest. Disks
tell nobody that they have room again."""

_OF_THE_DISK: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENOENT, errno.ESTALE, errno.EFBIG)
"""What another value would meet, too. Other errors are the value's own."""


def disk_limit_here() -> int:
    """Return the bytes of var values that this process may put on the disk; a setting that says nothing is told."""
    try:
        return var_disk_limit()
    except ValueError as error:
        logger.warning("%s; var values may take as much of the disk as there is memory", error)
        return var_disk_limit({name: value for name, value in os.environ.items() if name != DISK_SETTING})


def id_of(key: StoreKey) -> ValueId:
    """Return by what a value's file is named."""
    return ValueId(key.session_id, key.job_id, key.attempt or 0, key.place or 0)


class Spilling:
    """Puts values on the disk while somebody waits for room. Lives on the executor's loop."""

    def __init__(self, environment: Environment, limit: int, tell: Callable[[ValueId, str], None]) -> None:
        self.limit = limit
        self._tell = tell
        """Tells the mainframe in which file a value is: that outlives this process."""
        self._environment = environment
        self._trouble: str | None = None
        """What the disk said, until it takes something again."""
        self._pause = _PAUSES[0]
        self._not_before = 0.0
        """When the disk is asked again, by the loop's clock."""
        self._is_full = False
        """Whether it was said that the limit is reached, until half of it is free again."""
        self._task: asyncio.Task[None] | None = None

    @property
    def is_under_way(self) -> bool:
        """Whether a value is being written."""
        return self._task is not None

    @property
    def pause(self) -> float | None:
        """Seconds until a disk is asked again that took no more; None when it isn't that."""
        return None if self._trouble is None else max(self._not_before - self._environment.loop.time(), 0.0)

    def begin(self, is_wanted: Callable[[], bool], progress: Callable[[bool], None]) -> None:
        """Put values on the disk as long as that ``is_wanted``, unless that goes on already.

        ``progress`` hears of each value that has gone, and of the end; it is told whether there is more room.
        """
        if self._task is None and not self.pause and self._next() is not None:
            self._task = self._environment.tasks.create_task(self._spill(is_wanted, progress))

    def _next(self) -> KeptValue | None:
        """Return the value whose turn it is, if there is room for one on the disk."""
        environment = self._environment
        store = environment.store
        while (kept := store.coldest(environment.exporting)) is not None and self.limit > 0:
            left = self.limit - store.on_disk
            if _size(kept) <= left:
                self._is_full = self._is_full and left < self.limit // 2
                return kept
            if _size(kept) <= self.limit:
                self._tell_full()
                return None
            store.keep_in_memory(kept)
        return None

    async def _spill(self, is_wanted: Callable[[], bool], progress: Callable[[bool], None]) -> None:
        try:
            while is_wanted() and (kept := self._next()) is not None:
                try:
                    filed = await offload.wait_in_thread(self._write, kept)
                except OSError as error:
                    self._refused(error)
                    return
                self._taken()
                if filed is not None:
                    self._tell(id_of(kept.key), filed.name)
                progress(True)
        finally:
            self._task = None
            progress(False)

    def _write(self, kept: KeptValue) -> Filed | None:
        """Write a value, let its file stand for it, and return that. Raises ``OSError`` for what is the disk's."""
        environment = self._environment
        try:
            filed = environment.depot.spill(kept.value, id_of(kept.key), _size(kept))
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
                raise
            # Whatever the author's library raises; or the directories are closed, for this process leaves.
            logger.debug("a var value of job %s stays in memory: %s", kept.key.job_id, error)
            environment.store.keep_in_memory(kept)
            return None
        return filed if self._swap(kept, filed) else None

    def _swap(self, kept: KeptValue, filed: Filed) -> bool:
        store, depot, id = self._environment.store, self._environment.depot, id_of(kept.key)
        values = [kept.value]
        if not store.swap(kept, filed, 0 if filed.in_memory or kept.file == 0 else filed.length):
            if store.kept(id) is None:
                depot.remove([id])
            elif kept.file is None and not filed.in_memory:
                depot.remove([id], "d")
            return False
        # A large one takes a while to free: here, where nobody waits for it.
        free_gradually(values)
        return True

    def _refused(self, error: OSError) -> None:
        words = error.strerror or str(error)
        if self._trouble is None:
            logger.warning("var values have no room in memory, and the disk takes none (%s): blocks wait", words)
            self._pause = _PAUSES[0]
        self._trouble = words
        self._not_before = self._environment.loop.time() + self._pause
        self._pause = min(2 * self._pause, _PAUSES[1])

    def _taken(self) -> None:
        trouble, self._trouble = self._trouble, None
        if trouble is not None:
            logger.warning("the disk takes var values again (it was: %s)", trouble)

    def _tell_full(self) -> None:
        if not self._is_full:
            self._is_full = True
            held, limit = self._environment.store.on_disk >> 20, self.limit >> 20
            words = "var values take %d MiB of the disk, of %d MiB that they may (%s): blocks wait to put out more"
            logger.warning(words, held, limit, DISK_SETTING)


def _size(kept: KeptValue) -> int:
    """Return about how many bytes a value's file takes."""
    return kept.key.portable or kept.size
