"""Values: found in memory, or in the journal, and then with those that come after them in its row."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from asyncblock.server.committing import values as module
from asyncblock.server.committing.values import Found, Values
from asyncblock.server.journal import SqliteJournal
from asyncblock.server.journal.datadir import DataDir
from asyncblock.testing.conformance.journal import entries


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[SqliteJournal]:
    with DataDir.open(tmp_path / "data") as place:
        async with await SqliteJournal.open(place) as journal:
            yield journal


def row(values: list[Any]) -> bytes:
    records = [{"type": "BlockOutput", "handle": "out", "output": value, "done": False, "t": 1} for value in values]
    return b'{"type":"other"}\n' + orjson.dumps({"link": "l1", "records": records})


async def test_what_comes_after_a_value_in_its_row_is_read_with_it(journal: SqliteJournal) -> None:
    await entries(journal, 1, [row(list(range(50))), row(["else"])])
    values = Values(journal)
    assert values.recall((1, 0, 1, 7), "out") is None
    assert await values.load((1, 0, 1, 7), "out") == Found(7)
    assert [values.recall((1, 0, 1, place), "out") for place in range(7, 50)] == [Found(n) for n in range(7, 50)]
    assert values.recall((1, 0, 1, 6), "out") is None
    assert values.recall((1, 1, 1, 0), "out") is None
    assert await values.load((1, 1, 1, 0), "out") == Found("else")


async def test_large_values_that_come_after_one_dont_push_it_out(
    journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BUDGET", 100_000)
    texts = [str(place) * 10_000 for place in range(10)]
    await entries(journal, 1, [row(texts)])
    values = Values(journal)
    kept = {"type": "BlockOutput", "handle": "out", "output": "kept", "done": False, "t": 1}
    values.keep((1, 9, 0, 0), kept, "l1", 100)
    assert await values.load((1, 0, 1, 0), "out") == Found(texts[0])
    assert values.recall((1, 9, 0, 0), "out") == Found("kept")
    assert values.recall((1, 0, 1, 0), "out") == Found(texts[0])
    assert values.recall((1, 0, 1, 9), "out") is None
    assert values.size < 100_000 / 2


async def test_the_memory_of_records_is_bounded(journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BUDGET", 100_000)
    await entries(journal, 1, [row(list(range(1000)))])
    values = Values(journal)
    for place in range(0, 1000, 10):
        assert await values.load((1, 0, 1, place), "out") == Found(place)
    assert 0 < values.size <= 100_000
