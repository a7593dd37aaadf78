"""A process that writes to a journal and says what was stored, until somebody kills it.

``python -m tests.server.journal.crash_writer DIRECTORY SYNCHRONOUS SEED``. It goes on where the journal ends, as a link
does: write number ``seq`` holds the mark ``seq``, an entry for one of three sessions, now and then a body. A line of
output for each ``stored``.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import sys
from functools import partial
from pathlib import Path
from typing import cast

from asyncblock.server.journal import BodyKey, BodyRow, SessionRow, SqliteJournal, Write
from asyncblock.server.journal.database import Synchronous
from asyncblock.server.journal.datadir import DataDir

SESSIONS = 3
BODY_EVERY = 10
_MOST_QUEUED = 4 << 20


def session_of(seq: int) -> int:
    """Return the session of a write."""
    return 1 + seq % SESSIONS


def payload_of(seq: int) -> bytes:
    """Return the entry of a write: the same in every process."""
    size = random.Random(seq).choice((10, 300, 5_000, 64_000, 300_000))
    return b"%d " % seq + bytes(size)


def body_of(seq: int) -> bytes:
    """Return the body of a write."""
    return random.Random(seq).randbytes(100_000)


async def main(directory: str, synchronous: str, seed: str) -> None:
    """Write for ever."""
    chance = random.Random(seed)
    with DataDir.open(Path(directory)) as place:
        journal = await SqliteJournal.open(place, synchronous=cast("Synchronous", synchronous))
        seq = await _mark(journal)
        while True:
            seq += 1
            write = Write(partial(_say, seq))
            write.entry(session_of(seq), journal.next_offset(session_of(seq)), payload_of(seq))
            write.mark(1, seq)
            if seq % BODY_EVERY == 0:
                write.body(await _send_body(journal, seq))
            journal.write(write, urgent=chance.random() < 0.05)
            if journal.queued_bytes > _MOST_QUEUED or chance.random() < 0.05:
                await journal.flush()


def _say(seq: int) -> None:
    os.write(1, b"%d\n" % seq)


async def _mark(journal: SqliteJournal) -> int:
    if not await journal.sessions():
        write = Write()
        for number in range(1, SESSIONS + 1):
            write.session(SessionRow(session_no=number, session_id=f"s{number}", created_at=1, state="running"))
        journal.write(write)
        await journal.flush()
        return 0
    return sum(row.rows for row in await journal.sessions())


async def _send_body(journal: SqliteJournal, seq: int) -> BodyRow:
    data, key = body_of(seq), BodyKey("link", seq)
    have = journal.bodies.under_way("link").get(seq, 0)
    for offset in range(have - have % 7, len(data), 30_000):
        await journal.bodies.write(key, offset, data[offset : offset + 30_000])
    sha256 = hashlib.sha256(data).hexdigest()
    await journal.bodies.finish(key, len(data), sha256)
    return BodyRow(session_no=session_of(seq), link_id="link", n=seq, length=len(data), sha256=sha256)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
