from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from asyncblock.server.journal import BodyKey, BodyRow, SqliteJournal, Write, checkpoint
from asyncblock.server.journal.database import Synchronous
from asyncblock.server.journal.datadir import DataDir
from asyncblock.testing.conformance.journal import session, stored, sum_of

from .power import Event, Recorder, image

WRITES = 150


@pytest.fixture
def recorder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    recorder = Recorder(tmp_path / "data")
    monkeypatch.setattr(os, "pwrite", recorder.pwrite)
    monkeypatch.setattr(os, "fsync", recorder.fsync)
    # Small enough that the log starts over many times.
    monkeypatch.setattr("asyncblock.server.journal.writer.START_BYTES", 100_000)
    monkeypatch.setattr("asyncblock.server.journal.writer.LAST_BYTES", 50_000)
    assert checkpoint.START_BYTES > 100_000
    yield recorder


def payload(seq: int) -> bytes:
    return b"%d " % seq * random.Random(seq).choice((1, 50, 4000))


def body(seq: int) -> bytes:
    return random.Random(seq).randbytes(20_000)


async def record(recorder: Recorder, synchronous: Synchronous, base: Path) -> None:
    """Open a journal, copy its directory, write to it."""
    with DataDir.open(recorder.directory) as place:
        journal = await SqliteJournal.open(place, synchronous=synchronous, connect=recorder.connect)
        write = Write()
        write.session(session(1))
        await stored(journal, write)
        os.sync()
        shutil.copytree(place.path, base)
        recorder.events.clear()
        for seq in range(WRITES):
            note = Event("stored", offset=seq)
            write = Write(lambda note=note: recorder.note(note))  # type: ignore[misc]  # default binds
            write.entry(1, seq, payload(seq))
            write.mark(1, seq + 1)
            if seq % 5 == 0:
                write.body(await send_body(journal, seq))
            journal.write(write)
            if seq % 3 == 0:
                await journal.flush()
        await journal.close()


async def send_body(journal: SqliteJournal, seq: int) -> BodyRow:
    data, key = body(seq), BodyKey("link", seq)
    for offset in range(0, len(data), 7_000):
        await journal.bodies.write(key, offset, data[offset : offset + 7_000])
    await journal.bodies.finish(key, len(data), sum_of(data))
    return BodyRow(session_no=1, link_id="link", n=seq, length=len(data), sha256=sum_of(data))


async def survey(journal: SqliteJournal) -> int:
    """Return how many writes are there; each is there whole, and none beyond them."""
    rows = await journal.page(1, 0, 1 << 30)
    assert rows == [(seq, payload(seq)) for seq in range(len(rows))]
    named = {row.n: row.sha256 for row in await journal.body_rows(1)}
    assert named == {seq: sum_of(body(seq)) for seq in range(0, len(rows), 5)}
    for seq in named:
        if BodyKey("link", seq) not in journal.opening.lost_bodies:
            assert await journal.bodies.read(BodyKey("link", seq), 0, 1 << 20) == body(seq)
    return len(rows)


@pytest.mark.parametrize("synchronous", ["normal", "full"])
async def test_power_loss(
    synchronous: Synchronous, recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``full`` keeps everything that was acknowledged; ``normal`` loses a suffix, and the epoch says so."""
    base = tmp_path / "base"
    await record(recorder, synchronous, base)
    monkeypatch.undo()
    events = recorder.events
    assert sum(event.kind == "sync" and event.path.endswith("journal.db") for event in events) > 5
    chance = random.Random(11)
    lost_some = False
    for moment in sorted(chance.sample(range(len(events) + 1), 60)):
        acknowledged = sum(event.kind == "stored" for event in events[:moment])
        target = tmp_path / "found"
        image(base, recorder, moment, chance, target)
        with DataDir.open(target) as place:
            async with await SqliteJournal.open(place) as journal:
                there = await survey(journal)
                # The image is a copy, which changes the epoch by itself; test_epochfile has the reboot alone.
                assert journal.opening.changed
                if synchronous == "full":
                    assert there >= acknowledged
                    assert not journal.opening.lost_bodies
        lost_some |= there < acknowledged
        shutil.rmtree(target)
    assert lost_some == (synchronous == "normal")
