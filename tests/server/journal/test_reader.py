"""The readers' threads, and that the loop gives way to reads that are starved of the GIL."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from asyncblock.server.journal import SqliteJournal, reader
from asyncblock.server.journal.database import DatabaseConnection, connect, open_reader
from asyncblock.server.journal.datadir import DataDir


@pytest.fixture
async def readers(tmp_path: Path) -> AsyncIterator[reader.Readers]:
    with DataDir.open(tmp_path / "data") as place:
        async with await SqliteJournal.open(place):
            readers = reader.Readers([open_reader(connect, place.journal_path)], asyncio.get_running_loop())
            yield readers
            readers.shut()
            readers.stop()


def _until_starved() -> None:
    until = time.monotonic() + 2 * reader._PATIENCE
    while time.monotonic() < until:
        pass


async def test_the_loop_gives_way_to_a_read_that_waits_for_long(
    readers: reader.Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_WAY", 60.0)
    started, done = threading.Event(), threading.Event()

    def compute(connection: DatabaseConnection) -> int:
        started.set()
        found = sum(range(1_000_000))
        done.set()
        return found

    reading = asyncio.ensure_future(readers.run(compute))
    await asyncio.sleep(0)
    started.wait()
    _until_starved()
    readers.give_way()
    assert done.is_set()
    assert await reading == 499_999_500_000


async def test_the_loop_does_not_wait_twice_in_a_row_for_a_read_that_waits_for_the_disk(
    readers: reader.Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_PAUSE", 60.0)
    disk = threading.Event()
    reading = asyncio.ensure_future(readers.run(lambda connection: disk.wait()))
    await asyncio.sleep(0)
    _until_starved()
    began = time.monotonic()
    readers.give_way()
    assert time.monotonic() - began >= reader._WAY
    monkeypatch.setattr(reader, "_WAY", 60.0)
    readers.give_way()
    assert time.monotonic() - began < 30
    disk.set()
    assert await reading


async def test_the_loop_does_not_wait_where_nothing_is_read(
    readers: reader.Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_WAY", 60.0)
    assert await readers.run(lambda connection: 1) == 1
    _until_starved()
    began = time.monotonic()
    readers.give_way()
    assert time.monotonic() - began < 30
