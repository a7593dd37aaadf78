"""The task that deletes what the stream marks as unneeded: hidden sessions, and snapshots that newer ones replace.

A purge isn't fenced and needn't be: the marks are in the stream, all owners read the same ones, and none is taken back.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from ..journal.diskerrors import back_off
from .bodychains import BodyChains
from .natsstore import LONGEST_PAUSE, NatsRefused, NatsStore, NatsUnsure
from .streamindex import StreamIndex
from .streammessages import PartitionNames

__all__ = ["Deletions"]


class Deletions:
    """Deletes one thing after the other until ``stop``; what is left then is the next opening's."""

    def __init__(
        self,
        store: NatsStore,
        names: PartitionNames,
        index: StreamIndex,
        bodies: BodyChains,
        pruned: Callable[[int, int], None],
    ) -> None:
        self._store = store
        self._names = names
        self._index = index
        self._bodies = bodies
        self._pruned = pruned
        self._sessions: deque[tuple[int, asyncio.Future[int]]] = deque()
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="asyncblock-deletions")

    def add_session(self, session_no: int) -> None:
        """Queue the deletion of a hidden session's messages and bodies."""
        rests = self._index.pruned.get(session_no)
        # From here on none of its bodies may count as under way.
        self._sessions.append((session_no, self._bodies.delete_pruned(() if rests is None else rests.bodies)))
        self._wake.set()

    def look(self) -> None:
        """Look for snapshots that were replaced."""
        if self._index.superseded:
            self._wake.set()

    async def stop(self) -> None:
        """End the task."""
        self._stop.set()
        self._wake.set()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        while not self._stop.is_set():
            if self._sessions:
                session_no, bodies = self._sessions[0]
                await asyncio.wait([bodies])
                if bodies.exception() is None and await self._purge(
                    (self._names.entries(session_no), 0), (self._names.snapshots(session_no), 0)
                ):
                    rests = self._index.pruned.pop(session_no, None)
                    self._pruned(session_no, 0 if rests is None else rests.bytes)
                self._sessions.popleft()
            elif self._index.superseded:
                session_no, below = self._index.superseded.pop()
                await self._purge((self._names.snapshots(session_no), below))
            else:
                self._wake.clear()
                await self._wake.wait()

    async def _purge(self, *subjects: tuple[str, int]) -> bool:
        for subject, below in subjects:
            for pause in back_off(LONGEST_PAUSE):
                try:
                    await self._store.purge(self._names.stream, subject, below)
                    break
                except (NatsUnsure, NatsRefused):
                    if self._stop.is_set():
                        return False
                    try:
                        await asyncio.wait_for(self._stop.wait(), pause)
                    except TimeoutError:
                        continue
        return True
