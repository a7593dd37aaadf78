"""The store: var values, kept in the process that made them until no job can ask for them any more.

What is put in is detached from what its author goes on to change, and what is handed out from what a consumer changes.
What no job has at the moment may make room: a file on the disk stands in its place then.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import Any, Final

from .errors import Closed, LocalProtocolError
from .runtime.forks import fresh_lock, generation
from .varvalues.detached import detached
from .wire.ranges import Ranges
from .wire.stored import EXECUTOR_NAME, StoreKey

__all__ = ["EXECUTOR_NAME", "KeptValue", "Store", "StoreKey"]

Attempts = dict[tuple[str, int], dict[int, "KeptValue"]]
"""Values by job and attempt, and by their place there."""


SMALLEST: Final = 16 << 10
"""Bytes of a value below which its file would take a good part of them again, and longer to write than it is worth."""


class KeptValue:
    """A value and the key that travels for it."""

    __slots__ = ("file", "is_copy", "key", "on_disk", "size", "users", "value")

    def __init__(self, key: StoreKey, value: object, size: int) -> None:
        self.key = key
        self.value = value
        self.size = size
        """Bytes that it takes in memory, its file there counted."""
        self.file: int | None = None
        """Bytes in memory of the file that it was exported into, 0 for one on the disk."""
        self.on_disk = 0
        """Bytes of the file that stands in its place."""
        self.is_copy = False
        """It is another host's, and came as a body."""
        self.users = 0
        """How many jobs of this process have it as an input."""

    @property
    def has_file(self) -> bool:
        """Whether there is a file to remove."""
        return self.file is not None or self.on_disk > 0


class Store:
    """Var values by key. Its methods may be called from any thread.

    Values that are let go are returned: freeing a large one takes a while, and is no thread's affair that has others.
    Whoever has freed them says so (``freed``).
    """

    def __init__(self) -> None:
        self._lock = fresh_lock()
        self._born = generation()
        self._sessions: dict[str, Attempts] = {}
        self.size = 0
        """Bytes that the values take, about, and the files in memory that they were exported into."""
        self.files = 0
        """Bytes of those files alone."""
        self.on_disk = 0
        """Bytes of the files that stand in the place of values."""
        self.shared = 0
        """How many values are in files, which jobs of other processes have or wait for."""
        self._idle: dict[KeptValue, None] = {}
        """Values that could go to the disk, the one that was used least recently first."""

    def put(self, key: StoreKey, value: object, size: int = 0) -> None:
        """Keep a value as it is now: detach it before. Raises ``Closed`` in a forked process."""
        if generation() != self._born:
            raise Closed("a var value lives in the executor's process; return it to the block, and send it there")
        with self._lock:
            self.size += size
            attempts = self._sessions.setdefault(key.session_id, {})
            kept = attempts.setdefault(_attempt(key), {})[key.place or 0] = KeptValue(key, value, size)
            if key.file is not None:
                # That is all there is of it in memory.
                kept.file = size
                self.files += size
            self._note_idle(kept)

    def put_copy(self, key: StoreKey, filed: object, file: str, length: int, *, in_memory: bool) -> None:
        """Keep the file of a value of another host, unless it is here; it goes as values of this process do."""
        key = StoreKey(
            key.executor, key.handle, key.job_id, key.session_id, key.attempt, key.place, file=file, portable=length
        )
        with self._lock:
            values = self._sessions.setdefault(key.session_id, {}).setdefault(_attempt(key), {})
            if key.place in values:
                return
            kept = values[key.place or 0] = KeptValue(key, filed, length if in_memory else 0)
            kept.is_copy = True
            kept.file, kept.on_disk = kept.size, length - kept.size
            self.size += kept.size
            self.files += kept.size
            self.on_disk += kept.on_disk

    def get(self, key: StoreKey) -> Any:
        """Return a value, detached from the one that is kept. Raises ``LocalProtocolError`` when it isn't here."""
        return detached(self.look(key))

    def look(self, key: StoreKey) -> Any:
        """Return the value that is kept, not to be changed, or the file that stands for it. Raises as ``get``."""
        with self._lock:
            return self._found(key).value

    def use(self, key: StoreKey) -> Any:
        """Return a value as ``look``, which a job has as its input until ``use_no_more``. Raises as ``get``."""
        with self._lock:
            found = self._found(key)
            found.users += 1
            self._idle.pop(found, None)
            return found.value

    def use_no_more(self, keys: Iterable[StoreKey]) -> None:
        """Take note that a job which had some values has ended."""
        with self._lock:
            for found in filter(None, map(self._find, keys)):
                found.users -= 1
                self._note_idle(found)

    def kept(self, id: tuple[str, str, int, int]) -> KeptValue | None:
        """Return what is kept of a value: by session, job, attempt and place."""
        session_id, job_id, attempt, place = id
        with self._lock:
            return self._sessions.get(session_id, {}).get((job_id, attempt), {}).get(place)

    def values(self) -> list[KeptValue]:
        """Return all that is kept."""
        with self._lock:
            return [
                kept for attempts in self._sessions.values() for each in attempts.values() for kept in each.values()
            ]

    def exported(self, id: tuple[str, str, int, int], length: int) -> bool:
        """Take note that a value is in a file, too, and what of that is in memory; tell whether it is still here."""
        session_id, job_id, attempt, place = id
        with self._lock:
            kept = self._sessions.get(session_id, {}).get((job_id, attempt), {}).get(place)
            if kept is None:
                return False
            if kept.file is None:
                self.shared += 1
                kept.file = length
                kept.size += length
                self.size += length
                self.files += length
            return True

    # ------------------------------------------------------------------ making room

    def _note_idle(self, kept: KeptValue) -> None:
        """Let a value be the last of those that may go, if it may."""
        self._idle.pop(kept, None)
        key = kept.key
        stays = key.portable is None or key.file is not None or kept.size < SMALLEST
        if not (stays or kept.users or kept.on_disk):
            self._idle[kept] = None

    def coldest(self, but: Container[tuple[str, str, int, int]]) -> KeptValue | None:
        """Return the value that no job has had for the longest time, of those that could be on the disk."""
        with self._lock:
            return next((kept for kept in self._idle if _id(kept.key) not in but), None)

    def keep_in_memory(self, kept: KeptValue) -> None:
        """Try no more to put a value on the disk."""
        with self._lock:
            self._idle.pop(kept, None)

    def swap(self, kept: KeptValue, filed: object, length: int) -> bool:
        """Let a file, which takes ``length`` bytes of the disk, stand in the place of a value; tell whether it does.

        Not if the value was let go meanwhile, or a job has got it.
        """
        key = kept.key
        with self._lock:
            self._idle.pop(kept, None)
            if self._find(key) is not kept or kept.users:
                return False
            freed = kept.size - (kept.file or 0)
            kept.value, kept.size, kept.on_disk = filed, kept.file or 0, length
            self.size -= freed
            self.on_disk += length
            return True

    def own(self, value: object, session_id: str) -> object:
        """Return what a value is: for the key of a value of the session, as events show it, that value."""
        key = StoreKey.match(value) if type(value) is dict else None
        if key is None or key.session_id != session_id:
            return value
        with self._lock:
            found = self._find(key)
        return value if found is None else found.value

    def _found(self, key: StoreKey) -> KeptValue:
        found = self._find(key)
        if found is None:
            raise LocalProtocolError(
                f"the var value of handle {key.handle!r} of job {key.job_id} isn't in this process: a var value lives "
                "as long as the executor process that made it, and until no job can ask for it any more"
            )
        return found

    def _find(self, key: StoreKey) -> KeptValue | None:
        if key.place is None:
            return None
        return self._sessions.get(key.session_id, {}).get(_attempt(key), {}).get(key.place)

    # ------------------------------------------------------------------ letting go

    def forget(self, keys: Iterable[StoreKey]) -> list[object]:
        """Let go of values that were never sent, and return them."""
        gone: list[KeptValue] = []
        with self._lock:
            for key in keys:
                gone += self._take(key.session_id, _attempt(key), [key.place or 0])
            self.size -= sum(each.size for each in gone)
            self.files -= sum(each.file or 0 for each in gone)
            self.on_disk -= sum(each.on_disk for each in gone)
        return [each.value for each in gone]

    def release(self, session_id: str, job_id: str, attempt: int, places: Ranges) -> list[KeptValue]:
        """Let go of values of an attempt."""
        with self._lock:
            kept = self._sessions.get(session_id, {}).get((job_id, attempt), {})
            # A range may be as long as it likes; what is here isn't.
            gone = list(places) if places.count <= len(kept) else [place for place in kept if place in places]
            return self._take(session_id, (job_id, attempt), gone)

    def retain(
        self, session_id: str, living: dict[tuple[str, int], tuple[Ranges | None, Ranges]], is_open: Callable[..., bool]
    ) -> list[KeptValue]:
        """Let go of what doesn't live any more, by what the mainframe has seen of each attempt and what of that lives.

        What it hasn't seen of an attempt is on its way; ``None`` for an attempt that nothing comes of any more. Of
        attempts that it says nothing about, those that ``is_open(job_id, attempt)`` keep all.
        """
        gone = []
        with self._lock:
            for attempt, kept in list(self._sessions.get(session_id, {}).items()):
                known = living.get(attempt)
                if known is None and is_open(*attempt):
                    continue
                seen, live = known if known is not None else (None, Ranges())
                dead = [place for place in kept if place not in live and (seen is None or place in seen)]
                gone += self._take(session_id, attempt, dead)
        return gone

    def _take(self, session_id: str, attempt: tuple[str, int], places: Iterable[int]) -> list[KeptValue]:
        attempts = self._sessions.get(session_id, {})
        kept = attempts.get(attempt)
        if kept is None:
            return []
        gone = [found for place in places if (found := kept.pop(place, None)) is not None]
        self._let_go(gone)
        if not kept:
            del attempts[attempt]
            if not attempts:
                del self._sessions[session_id]
        return gone

    def drop_session(self, session_id: str) -> list[KeptValue]:
        """Let go of a session's values."""
        with self._lock:
            attempts = self._sessions.pop(session_id, {})
            gone = [each for kept in attempts.values() for each in kept.values()]
            self._let_go(gone)
        return gone

    def _let_go(self, gone: Iterable[KeptValue]) -> None:
        for each in gone:
            self._idle.pop(each, None)
            self.shared -= _is_shared(each)

    def freed(self, size: int, files: int = 0, on_disk: int = 0) -> None:
        """Take note that bytes of values that were let go, ``files`` of them in files in memory, are free, and some on
        the disk."""
        with self._lock:
            self.size -= size
            self.files -= files
            self.on_disk -= on_disk

    def has(self, session_id: str, job_id: str, attempt: int) -> bool:
        """Tell whether there are values of an attempt."""
        with self._lock:
            return (job_id, attempt) in self._sessions.get(session_id, {})

    @property
    def sessions(self) -> list[str]:
        """The sessions that have values here."""
        with self._lock:
            return list(self._sessions)

    def __len__(self) -> int:
        with self._lock:
            return sum(len(kept) for attempts in self._sessions.values() for kept in attempts.values())


def _is_shared(kept: KeptValue) -> bool:
    """Tell whether a job of another process has asked for a value."""
    return kept.file is not None and kept.key.file is None


def _id(key: StoreKey) -> tuple[str, str, int, int]:
    return key.session_id, key.job_id, key.attempt or 0, key.place or 0


def _attempt(key: StoreKey) -> tuple[str, int]:
    return key.job_id, key.attempt or 0
