from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from asyncblock.server.journal import Journal, SqliteJournal
from asyncblock.server.journal.database import Synchronous
from asyncblock.server.journal.datadir import DataDir
from asyncblock.server.journal.memoryjournal import MemoryJournal, MemoryStorage
from asyncblock.testing.conformance.journal import CHECKS


@pytest.fixture
def place(tmp_path: Path) -> Iterator[DataDir]:
    with DataDir.open(tmp_path / "data") as place:
        yield place


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("synchronous", ["normal", "full"])
async def test_the_sqlite_journal_passes(name: str, synchronous: Synchronous, place: DataDir) -> None:
    async def open_journal() -> Journal:
        return await SqliteJournal.open(place, synchronous=synchronous)

    await CHECKS[name](open_journal)


@pytest.mark.parametrize("name", CHECKS)
async def test_the_memory_journal_passes(name: str) -> None:
    storage = MemoryStorage()

    async def open_journal() -> Journal:
        return MemoryJournal(storage)

    await CHECKS[name](open_journal)
