from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from asyncblock.server.journal import Snapshot, SqliteJournal, Write
from asyncblock.server.journal.datadir import DataDir
from asyncblock.server.sessionstate.askedrows import AskedRows, answer_rows
from asyncblock.testing.conformance.journal import entries, stored


async def test_who_asks_gets_what_the_journal_has(tmp_path: Path) -> None:
    with DataDir.open(tmp_path) as place:
        journal = await SqliteJournal.open(place)
        await entries(journal, 1, [b"a\n", b"", b"c" * 100_000])
        ours, theirs = socket.socketpair()

        def ask() -> list[object]:
            with theirs:
                rows = AskedRows(theirs)

                async def all_of_it() -> list[object]:
                    none = await rows.snapshot(1)
                    return [none, await rows.page(1, 0, 1), await rows.page(1, 1), await rows.entry(1, 2)]

                found = asyncio.run(all_of_it())
                ours.shutdown(socket.SHUT_RDWR)
                with pytest.raises(SystemExit, match="nobody answers"):
                    asyncio.run(rows.snapshot(1))
                return found

        asking = asyncio.create_task(asyncio.to_thread(ask))
        reader, writer = await asyncio.open_connection(sock=ours)
        while line := await reader.readline():
            writer.write(await answer_rows(journal, line.decode()))
        assert await asking == [
            None,
            [(0, b"a\n")],
            [(1, b""), (2, b"c" * 100_000)],
            b"c" * 100_000,
        ]
        writer.close()
        write = Write()
        write.snapshot(Snapshot(session_no=1, offset=2, payload=b"s\n"))
        await stored(journal, write)
        assert await answer_rows(journal, '["snapshot", 1]') == b"[[2,2]]\ns\n"
        await journal.close()
