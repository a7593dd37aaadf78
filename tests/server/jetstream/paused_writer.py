"""A process that owns a partition and writes until it is taken over: ``python -m ... URL SET PARTITION``.

A line of output for each ``stored``, and ``overtaken`` as the last.
"""

from __future__ import annotations

import asyncio
import os
import sys
from functools import partial

from asyncblock.errors import Unavailable
from asyncblock.server.jetstream import Demands, JetStreamJournal, PartitionNames
from asyncblock.server.journal import Write
from asyncblock.testing.conformance.journal import session


async def main(url: str, set_name: str, partition: str, replicas: str) -> None:
    """Write for ever."""
    over = asyncio.Event()
    demands = Demands(servers_sync_always=True, replicas=int(replicas))
    journal = await JetStreamJournal.open(
        url.split(","),
        PartitionNames(set_name, int(partition)),
        demands,
        owner="paused",
        on_overtaken=lambda _: over.set(),
    )
    if not await journal.sessions():
        write = Write()
        write.session(session(1))
        journal.write(write)
    while not over.is_set():
        offset = journal.next_offset(1)
        write = Write(partial(_say, offset))
        write.entry(1, offset, b"paused %d" % offset)
        write.mark(1, offset + 1)
        journal.write(write)
        if journal.queued_bytes > 100_000:
            flushed, overtaken = asyncio.ensure_future(journal.flush()), asyncio.ensure_future(over.wait())
            await asyncio.wait([flushed, overtaken], return_when=asyncio.FIRST_COMPLETED)
            flushed.cancel()
            overtaken.cancel()
    try:
        await journal.close()
    except Unavailable:
        os.write(1, b"overtaken\n")


def _say(offset: int) -> None:
    os.write(1, b"%d\n" % offset)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
