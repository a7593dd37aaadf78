"""The mainframe's command with a defect planted, for the audit to find: ``python -m tests.testing.planted KIND serve ...``."""

from __future__ import annotations

import asyncio
import random
import sys
from typing import Any

from asyncblock.cli import main
from asyncblock.server.committing.values import Found
from asyncblock.server.jetstream import JetStreamJournal, PartitionNames
from asyncblock.server.jetstream.natsstore import NatsStore
from asyncblock.server.jetstream.streammessages import COMMIT
from asyncblock.server.journal import SqliteJournal, Write
from asyncblock.server.reception.incoming import Incoming
from asyncblock.server.sessionstate.sessionvalues import SessionValues

chance = random.Random(1)


def acknowledges_before_the_commit() -> None:
    """A mainframe that is killed loses what it has acknowledged."""
    batch = Incoming._batch

    async def early(self: Incoming, taken: Any) -> None:
        if taken.seq == self._link.received + 1:
            self._link.stored = taken.seq
            self._acknowledge()
        await batch(self, taken)

    Incoming._batch = early  # type: ignore[method-assign, assignment]
    for journal in (SqliteJournal, JetStreamJournal):
        journal.write = _late(journal.write)  # type: ignore[method-assign]


def _late(write: Any) -> Any:
    def late(self: Any, each: Write, *, urgent: bool = False) -> None:
        asyncio.get_running_loop().call_later(1.0, lambda: write(self, each))

    return late


def takes_batches_twice() -> None:
    """Of a batch that comes again it knows nothing any more."""
    batch = Incoming._batch

    async def twice(self: Incoming, taken: Any) -> None:
        await batch(self, taken)
        if chance.random() < 0.05 and self._link.received == taken.seq:
            self._link.received -= 1
            await batch(self, taken)

    Incoming._batch = twice  # type: ignore[method-assign, assignment]


def hands_out_another_value() -> None:
    """Some jobs get the value that stands before theirs."""
    resolve = SessionValues.resolve_now

    def swapped(self: SessionValues, refs: Any) -> dict[str, Found] | None:
        before = {
            handle: [*ref[:3], ref[3] - 1, *ref[4:]] if ref[0] == "record" and ref[3] and chance.random() < 0.5 else ref
            for handle, ref in refs.items()
        }
        return resolve(self, before) or resolve(self, refs)

    SessionValues.resolve_now = swapped  # type: ignore[method-assign]


def writes_without_a_fence() -> None:
    """An owner that has lost the set appends wherever the stream ends."""
    append = NatsStore.append

    async def anywhere(self: NatsStore, messages: Any, expected: int) -> int:
        if COMMIT in messages[0].headers:
            _, name, partition, *_ = messages[0].subject.split(".")
            expected = await self.last_seq(PartitionNames(name, int(partition)).stream)
        return await append(self, messages, expected)

    NatsStore.append = anywhere  # type: ignore[method-assign]


PLANTED = {
    "early": acknowledges_before_the_commit,
    "twice": takes_batches_twice,
    "swapped": hands_out_another_value,
    "unfenced": writes_without_a_fence,
}

if __name__ == "__main__":
    PLANTED[sys.argv.pop(1)]()
    main()
