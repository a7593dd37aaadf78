"""The task that stores writes: a group at a time becomes a commit, and only one commit is in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from ...errors import AsyncBlockError, Unavailable
from ..journal.contract import Write
from ..journal.diskerrors import back_off
from ..journal.writequeue import WriteQueue
from .fence import Fence, Overtaken
from .natsstore import LONGEST_PAUSE, NatsRefused, NatsUnsure, StoredMessage
from .streamindex import StreamIndex
from .streammessages import PartitionNames, encode_commit

__all__ = ["CommitReports", "Commits", "explain_refusal"]


@dataclass(frozen=True, slots=True)
class CommitReports:
    """Where the task reports what happened, on the event loop."""

    stored: Callable[[list[Write]], None]
    taken: Callable[[StoredMessage], None]
    trouble: Callable[[AsyncBlockError], None]
    recovered: Callable[[], None]
    overtaken: Callable[[Overtaken], None]
    died: Callable[[Exception], None]


class Commits:
    """Stores writes until ``stop``, or until another owner has taken the partition over."""

    def __init__(self, fence: Fence, names: PartitionNames, index: StreamIndex, reports: CommitReports) -> None:
        self.count = 0
        """Commits so far."""
        self.error: Exception | None = None
        """The last thing that went wrong."""
        self._fence = fence
        self._names = names
        self._index = index
        self._reports = reports
        self._write_queue = WriteQueue()
        self._group: list[Write] = []
        self._number = 0
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="asyncblock-commits")

    def put(self, write: Write) -> None:
        """Queue a write. Never waits."""
        self._write_queue.add(write)
        self._wake.set()

    async def stop(self) -> list[Write]:
        """Store what is queued, or try once more if there is trouble; return what was not stored.

        **Cancellation** leaves it to the next call.
        """
        self._stop.set()
        self._wake.set()
        await asyncio.wait([self._task])
        return [*self._group, *self._write_queue.drain()]

    # ------------------------------------------------------------------ the task

    async def _run(self) -> None:
        try:
            while await self._await_work():
                self._group = self._write_queue.take()
                if not await self._commit(self._group):
                    return
                self._group = []
        except Overtaken as error:
            self.error = error
            self._reports.overtaken(error)
        except Exception as error:
            # A defect of ours; the task is over, and it mustn't look as if all were well.
            self.error = error
            self._reports.died(error)

    async def _await_work(self) -> bool:
        while not self._write_queue:
            if self._stop.is_set():
                return False
            self._wake.clear()
            await self._wake.wait()
        return True

    async def _commit(self, group: list[Write]) -> bool:
        """Commit a group, however often it takes; False when the journal closes and it can't be done."""
        troubled = looked = False
        unresolved = ""
        for pause in back_off(LONGEST_PAUSE):
            stopping = self._stop.is_set()
            try:
                if unresolved:
                    found = await self._fence.resolve(unresolved)
                    unresolved = ""
                    if found is not None:
                        self._take_in(found)
                        break
                commit = self._next_commit()
                messages = encode_commit(self._names, commit, group, lambda: self._index.marks)
                if messages:
                    try:
                        self._take_in(await self._fence.append(messages))
                    except NatsUnsure:
                        unresolved = commit
                        raise
                    except NatsRefused as refused:
                        # The stream is full: nothing was stored, and a batch of our own would take the rest.
                        unresolved = "" if refused.full else commit
                        raise
                break
            except (NatsUnsure, NatsRefused) as error:
                if isinstance(error, NatsRefused) and error.overtaken and not looked:
                    # Another owner has written; the stream says who it is.
                    looked = True
                    continue
                self.error = error
                if not troubled:
                    troubled = True
                    self._reports.trouble(explain_refusal(error, self._names))
                if stopping:
                    return False
                await self._sleep(pause)
        if troubled:
            self._reports.recovered()
        self._reports.stored(group)
        return True

    def _next_commit(self) -> str:
        self._number += 1
        return f"{self._fence.term}.{self._number}"

    def _take_in(self, messages: list[StoredMessage]) -> None:
        self.count += 1
        for message in messages:
            self._index.take(message)
            self._reports.taken(message)

    async def _sleep(self, pause: float) -> None:
        """Wait, but not longer than until the journal closes."""
        try:
            await asyncio.wait_for(self._stop.wait(), pause)
        except TimeoutError:
            return


def explain_refusal(error: Exception, names: PartitionNames) -> Unavailable:
    """Turn the servers' answer, or the lack of one, into an error that says what to do."""
    if isinstance(error, NatsRefused) and error.full:
        advice = "raise the stream's max_bytes or the account's limit, or prune; it goes on by itself"
    else:
        advice = "it is tried again until the servers answer"
    trouble = Unavailable(f"stream {names.stream} can't be written: {error} ({advice})")
    trouble.__cause__ = error
    return trouble
