from __future__ import annotations

import asyncio
import hashlib
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from asyncblock.errors import AsyncBlockError, Closed, Unavailable
from asyncblock.server.journal import BodyKey, Journal, SqliteJournal, Write
from asyncblock.server.journal.database import DatabaseConnection, connect
from asyncblock.server.journal.datadir import DataDir
from asyncblock.server.journal.diskerrors import back_off
from asyncblock.server.journal.memoryjournal import MemoryJournal, MemoryStorage
from asyncblock.testing.conformance.journal import everything, session


class Watch:
    """Notes the edges of trouble."""

    def __init__(self) -> None:
        self.errors: list[AsyncBlockError] = []
        self.begun = asyncio.Event()
        self.over = asyncio.Event()

    def on_trouble(self, error: AsyncBlockError) -> None:
        self.errors.append(error)
        self.over.clear()
        self.begun.set()

    def on_recovered(self) -> None:
        self.begun.clear()
        self.over.set()


class FullDisk:
    """Opens connections to a database that can be kept from growing."""

    def __init__(self) -> None:
        self._writing: DatabaseConnection | None = None

    def connect(self, path: Path, read_only: bool) -> DatabaseConnection:
        connection = connect(path, read_only)
        self._writing = self._writing or connection
        return connection

    def limit(self, pages: int) -> None:
        """Let the database have so many pages, or as many as it has."""
        assert self._writing is not None
        self._writing.execute(f"PRAGMA max_page_count = {pages}").fetchall()


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the kernel refuse to make any file larger than this."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[DataDir]:
    with DataDir.open(tmp_path / "data") as place:
        yield place


def write_entries(journal: Journal, count: int, size: int, ran: list[int]) -> None:
    for _ in range(count):
        offset = journal.next_offset(1)
        write = Write(lambda offset=offset: ran.append(offset))  # type: ignore[misc]  # default binds
        write.entry(1, offset, offset.to_bytes(4, "big") * (size // 4))
        journal.write(write)


async def first_session(journal: Journal) -> None:
    write = Write()
    write.session(session(1))
    journal.write(write)
    await journal.flush()


async def test_a_full_disk_stops_loudly_and_nothing_is_lost(place: DataDir) -> None:
    watch, disk = Watch(), FullDisk()
    journal = await SqliteJournal.open(
        place, on_trouble=watch.on_trouble, on_recovered=watch.on_recovered, connect=disk.connect
    )
    ran: list[int] = []
    await first_session(journal)
    write_entries(journal, 10, 1000, ran)
    await journal.flush()
    disk.limit(1)
    write_entries(journal, 100, 100_000, ran)
    await watch.begun.wait()
    assert ran == list(range(len(ran)))
    stored = len(ran)
    assert stored < 110
    assert isinstance(journal.trouble, Unavailable)
    assert "the disk is full" in str(journal.trouble)
    assert (await journal.stats()).trouble == str(journal.trouble)
    # What was stored is read, what comes is kept.
    assert len(await everything(journal, 1)) == stored
    write_entries(journal, 10, 1000, ran)
    assert journal.queued_bytes > (110 - stored) * 100_000
    disk.limit(1 << 30)
    await watch.over.wait()
    await journal.flush()
    assert journal.trouble is None
    assert ran == list(range(120))
    assert [offset for offset, _ in await everything(journal, 1)] == list(range(120))
    assert len(watch.errors) == 1
    await journal.close()


async def test_an_io_error_stops_loudly_and_nothing_is_lost(place: DataDir) -> None:
    """The kernel refuses to let the log grow; a write that is done in part is undone."""
    watch = Watch()
    journal = await SqliteJournal.open(place, on_trouble=watch.on_trouble, on_recovered=watch.on_recovered)
    ran: list[int] = []
    await first_session(journal)
    with largest_file(1 << 20):
        write_entries(journal, 60, 60_000, ran)
        await watch.begun.wait()
        assert "tried again" in str(journal.trouble)
        stored = len(ran)
        assert [offset for offset, _ in await everything(journal, 1)] == list(range(stored))
    await watch.over.wait()
    await journal.flush()
    assert ran == list(range(60))
    assert [offset for offset, _ in await everything(journal, 1)] == list(range(60))
    await journal.close()


async def test_closing_in_trouble_says_what_was_not_stored(place: DataDir) -> None:
    watch, disk = Watch(), FullDisk()
    journal = await SqliteJournal.open(place, on_trouble=watch.on_trouble, connect=disk.connect)
    ran: list[int] = []
    await first_session(journal)
    disk.limit(1)
    write_entries(journal, 30, 100_000, ran)
    await watch.begun.wait()
    flushing = asyncio.ensure_future(journal.flush())
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match=r"without storing \d+ writes .*full"):
        await journal.close()
    with pytest.raises(Closed):
        await flushing
    again = await SqliteJournal.open(place)
    assert not again.opening.clean
    assert [offset for offset, _ in await everything(again, 1)] == ran
    await again.close()


async def test_bodies_wait_for_the_disk_too(place: DataDir) -> None:
    watch = Watch()
    journal = await SqliteJournal.open(place, on_trouble=watch.on_trouble, on_recovered=watch.on_recovered)
    data = bytes(range(256)) * 4096
    key = BodyKey("a", 1)
    with largest_file(700_001):
        writes = [journal.bodies.write(key, at, data[at : at + 65_536]) for at in range(0, len(data), 65_536)]
        finish = asyncio.ensure_future(journal.bodies.finish(key, len(data), hashlib.sha256(data).hexdigest()))
        await watch.begun.wait()
        assert "bodies" in str(journal.trouble)
        assert 0 < journal.bodies.queued_bytes < len(data)
    await watch.over.wait()
    assert [await write for write in writes] == [min(at + 65_536, len(data)) for at in range(0, len(data), 65_536)]
    await finish
    assert await journal.bodies.read(key, 0, 1 << 21) == data
    assert journal.bodies.queued_bytes == 0
    await journal.close()


async def test_closing_while_bodies_wait_says_so(place: DataDir) -> None:
    watch = Watch()
    journal = await SqliteJournal.open(place, on_trouble=watch.on_trouble)
    with largest_file(100_000):
        write = journal.bodies.write(BodyKey("a", 1), 0, bytes(150_000))
        other = journal.bodies.write(BodyKey("a", 2), 0, bytes(50))
        await watch.begun.wait()
        with pytest.raises(Unavailable, match="2 parts of bodies"):
            await journal.close()
    for each in (write, other):
        with pytest.raises(Closed):
            await each
    again = await SqliteJournal.open(place)
    assert again.bodies.under_way("a") == {1: 100_000}
    await again.close()


async def test_chunks_beyond_the_bound_are_refused(place: DataDir) -> None:
    watch = Watch()
    journal = await SqliteJournal.open(place, on_trouble=watch.on_trouble)
    with largest_file(1):
        journal.bodies.write(BodyKey("a", 1), 0, b"xx").cancel()
        await watch.begun.wait()
        chunk = bytes(journal.bodies.max_queued_bytes)
        with pytest.raises(Unavailable, match="wait for the disk"):
            await journal.bodies.write(BodyKey("a", 1), 2, chunk)
    await journal.close()


async def test_a_second_writer_of_the_database_only_delays(place: DataDir) -> None:
    """Somebody holds the write lock with another program for longer than SQLite waits."""
    watch = Watch()
    journal = await SqliteJournal.open(place, on_trouble=watch.on_trouble, on_recovered=watch.on_recovered)
    await first_session(journal)
    other = sqlite3.connect(place.journal_path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    ran: list[int] = []
    write_entries(journal, 3, 100, ran)
    await watch.begun.wait()
    other.execute("ROLLBACK")
    other.close()
    await watch.over.wait()
    await journal.flush()
    assert ran == [0, 1, 2]
    await journal.close()


async def test_the_memory_journal_has_trouble_on_demand() -> None:
    watch, storage = Watch(), MemoryStorage()
    journal = MemoryJournal(storage, on_trouble=watch.on_trouble, on_recovered=watch.on_recovered)
    ran: list[int] = []
    await first_session(journal)
    storage.refuse = OSError(28, "No space left on device")
    write_entries(journal, 5, 100, ran)
    await watch.begun.wait()
    assert ran == []
    storage.refuse = None
    await watch.over.wait()
    await journal.flush()
    assert ran == [0, 1, 2, 3, 4]
    storage.refuse = OSError(28, "No space left on device")
    write_entries(journal, 1, 100, ran)
    with pytest.raises(Unavailable, match="without storing 1 writes"):
        await journal.close()
    assert len(storage.entries[1]) == 5


async def test_the_memory_journal_dies_on_demand() -> None:
    storage = MemoryStorage()
    journal = MemoryJournal(storage)
    ran: list[int] = []
    await first_session(journal)
    write_entries(journal, 5, 100, ran)
    journal.abandon()
    again = MemoryJournal(storage)
    assert not again.opening.clean
    assert again.next_offset(1) == 0
    write_entries(again, 5, 100, ran)
    await again.close()
    assert ran == [0, 1, 2, 3, 4]


def test_the_pauses_grow_to_a_bound() -> None:
    pauses = back_off()
    assert [next(pauses) for _ in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
