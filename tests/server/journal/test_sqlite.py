from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from asyncblock.errors import Closed, LocalProtocolError, Unavailable
from asyncblock.server.journal import BodyKey, SqliteJournal, Write
from asyncblock.server.journal.checkpoint import MAX_BYTES
from asyncblock.server.journal.database import connect
from asyncblock.server.journal.datadir import DataDir
from asyncblock.server.journal.statements import VERSION
from asyncblock.testing.conformance.journal import entries, everything, session, stored, sum_of


@pytest.fixture
def place(tmp_path: Path) -> Iterator[DataDir]:
    with DataDir.open(tmp_path / "data") as place:
        yield place


def ours() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("asyncblock-")}


async def test_closing_leaves_neither_threads_nor_a_log(place: DataDir) -> None:
    journal = await SqliteJournal.open(place)
    await entries(journal, 1, [bytes(100_000)] * 20)
    assert {"asyncblock-journal", "asyncblock-bodies", "asyncblock-checkpoint", "asyncblock-read"} <= ours()
    assert (await journal.stats()).wal_bytes > 2_000_000
    await journal.close()
    assert ours() == set()
    assert sorted(path.name for path in place.path.iterdir()) == ["bodies", "journal.db", "lineage", "lock"]


async def test_the_log_stays_short_while_writes_go_on(place: DataDir) -> None:
    async with await SqliteJournal.open(place) as journal:
        await entries(journal, 1, [])
        payload = bytes(256 << 10)
        for offset in range(1000):
            write = Write()
            write.entry(1, offset, payload)
            journal.write(write)
            if journal.queued_bytes > 8 << 20:
                await journal.flush()
        await journal.flush()
        stats = await journal.stats()
        assert stats.wal_bytes < 1.5 * MAX_BYTES
        assert stats.database_bytes > 3 * MAX_BYTES


async def test_a_prune_gives_the_disk_back_and_commits_go_on(place: DataDir) -> None:
    async with await SqliteJournal.open(place) as journal:
        for number in (1, 2):
            await stored(journal, _session(number))
        for offset in range(300):
            write = Write()
            for number in (1, 2):
                write.entry(number, offset, number.to_bytes(1, "big") * 65_536)
            journal.write(write)
        await journal.flush()
        pruning = asyncio.ensure_future(journal.prune(1))
        beside = 0
        while not pruning.done():
            write = Write()
            write.entry(2, 300 + beside, b"beside")
            await stored(journal, write)
            beside += 1
        assert await pruning == 300 * 65_536
        # Not one for each piece, but far more than one for the whole.
        assert beside >= 10
        assert len(await everything(journal, 2)) == 300 + beside
    size = place.journal_path.stat().st_size
    assert 300 * 65_536 < size < 1.2 * 300 * 65_536


async def test_a_prune_whose_caller_left_goes_on(place: DataDir) -> None:
    async with await SqliteJournal.open(place) as journal:
        for number in (1, 2):
            await entries(journal, number, [bytes(60_000)] * 40)
        pruning = asyncio.ensure_future(journal.prune(1))
        await asyncio.sleep(0)
        pruning.cancel()
        # One goes after the other.
        await journal.prune(2)
        assert await journal.page(1, 0) == []
        assert await journal.sessions() == []


async def test_a_prune_that_meets_the_end_is_told(place: DataDir) -> None:
    journal = await SqliteJournal.open(place)
    await entries(journal, 1, [bytes(60_000)] * 200)
    pruning = asyncio.ensure_future(journal.prune(1))
    await asyncio.sleep(0)
    await journal.close()
    with pytest.raises(Closed):
        await pruning
    async with await SqliteJournal.open(place) as journal:
        assert await journal.sessions() == []


async def test_an_opening_that_was_cancelled_is_closed_again(place: DataDir) -> None:
    opening = asyncio.ensure_future(SqliteJournal.open(place))
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    async with await SqliteJournal.open(place) as journal:
        await entries(journal, 1, [b"x"])


async def test_a_read_that_was_cancelled_harms_nobody(place: DataDir) -> None:
    async with await SqliteJournal.open(place) as journal:
        await entries(journal, 1, [b"x"])
        reads = [asyncio.ensure_future(journal.page(1, 0)) for _ in range(20)]
        await asyncio.sleep(0)
        for read in reads[::2]:
            read.cancel()
        assert [await read for read in reads[1::2]] == [[(0, b"x")]] * 10


async def test_closing_may_be_cancelled_and_awaited_again(place: DataDir) -> None:
    journal = await SqliteJournal.open(place)
    await stored(journal, _session(1))
    ran: list[int] = []
    for offset in range(200):
        write = Write(lambda offset=offset: ran.append(offset))  # type: ignore[misc]  # default binds
        write.entry(1, offset, bytes(50_000))
        journal.write(write)
    closing = asyncio.ensure_future(journal.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.sleep(0)
    assert closing.cancelled()
    await journal.close()
    assert ran == list(range(200))


async def test_a_newer_schema_is_refused(place: DataDir) -> None:
    await (await SqliteJournal.open(place)).close()
    with closing(sqlite3.connect(place.journal_path)) as connection, connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    with pytest.raises(Unavailable, match=f"version {VERSION + 1}, .* up to {VERSION}; update asyncblock"):
        await SqliteJournal.open(place)


async def test_what_is_not_a_journal_is_left_alone(place: DataDir) -> None:
    with closing(sqlite3.connect(place.journal_path)) as connection, connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = place.journal_path.read_bytes()
    with pytest.raises(Unavailable, match="database of something else"):
        await SqliteJournal.open(place)
    assert place.journal_path.read_bytes() == before
    place.journal_path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(Unavailable, match="can't be opened: file is not a database"):
        await SqliteJournal.open(place)
    assert ours() == set()


async def test_an_unknown_mode_is_refused(place: DataDir) -> None:
    with pytest.raises(LocalProtocolError, match="normal or full, not 'off'"):
        await SqliteJournal.open(place, synchronous="off")  # type: ignore[arg-type]  # what a caller without types does


async def test_a_body_goes_on_after_a_restart(place: DataDir) -> None:
    """The sum is made anew from the file."""
    data = bytes(range(256)) * 5000
    async with await SqliteJournal.open(place) as journal:
        await journal.bodies.write(BodyKey("a", 1), 0, data[:700_000])
    async with await SqliteJournal.open(place, synchronous="full") as journal:
        assert journal.bodies.under_way("a") == {1: 700_000}
        await journal.bodies.write(BodyKey("a", 1), 690_000, data[690_000:])
        await journal.bodies.finish(BodyKey("a", 1), len(data), sum_of(data))
        assert await journal.bodies.read(BodyKey("a", 1), 0, 1 << 21) == data


async def test_many_bodies_at_once(place: DataDir) -> None:
    """More than files are held open: those that were closed meanwhile are taken up again with their sums."""
    async with await SqliteJournal.open(place) as journal:
        parts = [bytes([n]) * 1000 for n in range(5)]
        for index, part in enumerate(parts):
            await asyncio.gather(*[journal.bodies.write(BodyKey("a", n), index * 1000, part) for n in range(150)])
        data = b"".join(parts)
        for n in range(150):
            await journal.bodies.finish(BodyKey("a", n), len(data), sum_of(data))
        assert await journal.bodies.read(BodyKey("a", 149), 0, 9999) == data


async def test_a_sync_of_a_body_that_failed_is_not_believed(place: DataDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel takes pages that it couldn't write for clean; the content is written again before the next sync."""
    written: list[int] = []
    really_sync, really_write = os.fsync, os.pwrite
    failures = [OSError(5, "Input/output error")]

    def fsync(fd: int) -> None:
        if failures and (place.bodies_path / "a" / "1").exists():
            raise failures.pop()
        really_sync(fd)

    def pwrite(fd: int, data: bytes, offset: int) -> int:
        written.append(len(data))
        return really_write(fd, data, offset)

    async with await SqliteJournal.open(place, synchronous="full") as journal:
        await journal.bodies.write(BodyKey("a", 1), 0, b"body")
        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(os, "pwrite", pwrite)
        await journal.bodies.finish(BodyKey("a", 1), 4, sum_of(b"body"))
        assert written == [4]


async def test_entries_are_walked_without_a_second_index(place: DataDir) -> None:
    await (await SqliteJournal.open(place)).close()
    connection = connect(place.journal_path, True)
    plan = connection.execute("EXPLAIN QUERY PLAN SELECT payload FROM entries WHERE id BETWEEN 1 AND 9").fetchall()
    connection.close()
    assert "USING INTEGER PRIMARY KEY" in plan[0][3]


def _session(number: int) -> Write:
    write = Write()
    write.session(session(number))
    return write
