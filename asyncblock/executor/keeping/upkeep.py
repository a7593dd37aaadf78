"""Upkeep of the store: var values go when the mainframe says that no job can ask for them any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, Final

from ...context import dataframes
from ...link import Link
from ...runtime import offload
from ...store import StoreKey
from ...varvalues.valueid import ValueId
from ...wire.messages import Live, Release
from ...wire.ranges import Ranges
from ..environment import Environment
from .budget import Budget
from .gradualfree import free_gradually
from .spilling import id_of

__all__ = ["Upkeep", "is_entry"]

_FEW: Final = 1000
"""Values of an attempt that has left whose files are looked for: a range may be as long as it likes."""

_Living = dict[tuple[str, int], tuple[Ranges | None, Ranges]]
"""By job and attempt: which values the mainframe has seen, and which of them live."""

Source = tuple[str, str, int | None, str]
"""Session, job, attempt and handle of values that a file is kept of."""


class Upkeep:
    """Lets values of an executor go. Lives on its loop; what takes time is done on a worker thread."""

    def __init__(self, environment: Environment, budget: Budget, session_ended: Callable[[str], None]) -> None:
        self._environment = environment
        self._budget = budget
        self._session_ended = session_ended
        """Does what is due when the mainframe says that a session has ended."""
        self._latest: dict[Source, StoreKey] = {}
        """The latest value of each source that has gone: a later run may take it from its file, not those before."""
        self._living: dict[Link, dict[str, _Living | None]] = {}
        """What has come of a message in several parts, as far as it is about what is here, by the link of it."""
        self._ended: set[str] = set()
        """Sessions whose files are to be removed, many at a time: each look at the disk serves all of them."""
        self._removing: asyncio.Task[None] | None = None

    def release(self, message: Release) -> None:
        """Let go of some values of a session."""
        gone, left = [], []
        for job_id, attempt, places in filter(is_entry, message.values):
            found = self._environment.store.release(message.session_id, job_id, attempt, Ranges.from_json(places))
            gone += found
            if not found:
                # Of an executor that has left.
                few = islice(Ranges.from_json(places), _FEW)
                left += [ValueId(message.session_id, job_id, attempt, place) for place in few]
        if left:
            self._environment.start(self._environment.depot.remove_left, left)
        self._part(gone)

    def live(self, message: Live, link: Link) -> None:
        """Let go of all that doesn't live: after a Welcome, when releases may have been lost.

        It is about the sessions that the partition of the link has.
        """
        environment = self._environment
        known = environment.sessions.union(environment.store.sessions)
        living = self._living.setdefault(link, {})
        for session_id, entries in message.sessions.items():
            if session_id in known:
                self._note_living(living, session_id, entries)
        if message.more:
            return
        del self._living[link]
        busy = {job.session_id for job in environment.jobs.values()}
        for session_id in environment.sessions - living.keys() - busy:
            if environment.links.of(session_id) is link:
                # The word about its end was lost.
                self._session_ended(session_id)
        gone = []
        for session_id, attempts in living.items():
            if attempts is not None:
                gone += environment.store.retain(session_id, attempts, self._is_open)
        self._part(gone)

    def _note_living(self, living: dict[str, _Living | None], session_id: str, entries: list[Any] | None) -> None:
        if entries is None:
            living[session_id] = None
            return
        before = living.get(session_id)
        attempts = living[session_id] = {} if before is None else before
        for job_id, attempt, seen, places in filter(_is_statement, entries):
            # However much is said, what is kept of it is no more than there is here.
            if self._is_open(job_id, attempt) or self._environment.store.has(session_id, job_id, attempt):
                live = Ranges.from_json(places)
                attempts[job_id, attempt] = (None if seen is None else Ranges.from_json(seen), live)

    def end_session(self, session_id: str) -> None:
        """Let go of a session."""
        for source in [source for source in self._latest if source[0] == session_id]:
            del self._latest[source]
        environment = self._environment
        self._part(environment.store.drop_session(session_id), files=False)
        # Of values, too, whose process is gone; whoever of this host hears it first removes them.
        self._ended.add(session_id)
        if self._removing is None:
            self._removing = environment.tasks.create_task(self._remove_files())

    async def _remove_files(self) -> None:
        try:
            while self._ended:
                ended, self._ended = self._ended, set()
                await offload.wait_in_thread(self._environment.depot.end_sessions, ended)
        finally:
            self._removing = None

    def _is_open(self, job_id: str, attempt: int) -> bool:
        return (job_id, attempt) in self._environment.jobs

    def _part(self, gone: list[Any], *, files: bool = True) -> None:
        """Free values on a worker thread: a large one takes a while. Their files go too, but the latest."""
        if not gone:
            return
        environment = self._environment
        names = [name for kept in gone if (name := self._superseded(kept.key)) is not None] if files else []
        values, size = [kept.value for kept in gone], sum(kept.size for kept in gone)
        filed = [id_of(kept.key) for kept in gone if kept.has_file]
        sizes = (size, sum(kept.file or 0 for kept in gone), sum(kept.on_disk for kept in gone))
        gone.clear()
        environment.tasks.create_task(self._free(values, sizes, names, filed))

    async def _free(
        self, values: list[Any], sizes: tuple[int, int, int], names: list[str], files: list[ValueId]
    ) -> None:
        environment = self._environment
        if files:
            await offload.wait_in_thread(environment.depot.remove, files)
        await offload.wait_in_thread(_free, values, environment.directories.values_dir() if names else None, names)
        environment.store.freed(*sizes)
        self._budget.change()

    def _superseded(self, key: StoreKey) -> str | None:
        if key.cache is None:
            return None
        source = (key.session_id, key.job_id, key.attempt, key.handle)
        before = self._latest.get(source)
        if before is None or (before.place or 0) < (key.place or 0):
            self._latest[source], key = key, before or key
            return None if before is None else key.cache
        return key.cache


def _free(values: list[Any], directory: Path | None, names: list[str]) -> None:
    free_gradually(values)
    if directory is not None:
        dataframes.remove(directory, names)


def is_entry(entry: object) -> bool:
    """Tell whether it is what a release says of an attempt: its job, its number, and places of its values."""
    return isinstance(entry, list) and [type(each) for each in entry] == [str, int, list]


def _is_statement(entry: object) -> bool:
    if not isinstance(entry, list) or len(entry) != 4:
        return False
    return [type(each) for each in entry[:2]] == [str, int] and (entry[2] is None or type(entry[2]) is list)
