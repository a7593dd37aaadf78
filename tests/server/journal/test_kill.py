from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from asyncblock.server.journal import BodyKey, LinkRow, SqliteJournal, Write
from asyncblock.server.journal.datadir import DataDir

from .crash_writer import BODY_EVERY, SESSIONS, body_of, payload_of, session_of

ROOT = Path(__file__).parents[3]


def run_and_kill(directory: Path, synchronous: str, seed: int, lines: int) -> int:
    """Run the writer until it has said a number of lines, kill -9 it, and return the last write that it reported."""
    command = [sys.executable, "-m", "tests.server.journal.crash_writer", str(directory), synchronous, str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        reported = [int(process.stdout.readline()) for _ in range(lines)]
        process.kill()
        reported += [int(line) for line in process.stdout.read().splitlines()]
    assert reported == list(range(reported[0], reported[0] + len(reported)))
    return reported[-1]


@pytest.mark.parametrize("synchronous", ["normal", "full"])
async def test_what_was_reported_is_there_once_after_each_kill(synchronous: str, tmp_path: Path) -> None:
    """The writer is killed again and again, and begins each time where the journal ends."""
    chance = random.Random(7)
    directory = tmp_path / "data"
    epochs = set()
    for cycle in range(6):
        reported = run_and_kill(directory, synchronous, cycle, lines=chance.choice((1, 7, 60, 300)))
        with DataDir.open(directory) as place:
            async with await SqliteJournal.open(place) as journal:
                assert not journal.opening.clean
                epochs.add(journal.epoch)
                await verify(journal, reported)
    assert len(epochs) == 1


async def verify(journal: SqliteJournal, reported: int) -> None:
    """Each write up to the mark is there whole and once, nothing is there beyond it, all that was reported is."""
    link = Write()
    link.link(LinkRow(link_no=1, link_id="link", token_hash="", generation=1, boot=""))
    journal.write(link)
    await journal.flush()
    mark = (await journal.links())[0].stored_seq
    assert mark >= reported
    for number in range(1, SESSIONS + 1):
        expected = [seq for seq in range(1, mark + 1) if session_of(seq) == number]
        found = 0
        while page := await journal.page(number, found):
            for offset, payload in page:
                assert offset == found
                assert payload == payload_of(expected[found])
                found += 1
        assert found == len(expected)
        named = {row.n for row in await journal.body_rows(number)}
        assert named == {seq for seq in expected if seq % BODY_EVERY == 0}
        for n in named:
            assert await journal.bodies.read(BodyKey("link", n), 0, 1 << 20) == body_of(n)


async def test_a_prune_that_was_interrupted_is_ended_by_the_next_opening(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    run_and_kill(directory, "normal", 0, lines=60)
    with closing(sqlite3.connect(directory / "journal.db")) as connection, connection:
        # As far as a prune had come when the process died: hidden, some bodies and entries gone.
        connection.execute("UPDATE sessions SET pruning = 1 WHERE session_no = 1")
        connection.execute("DELETE FROM entries WHERE id BETWEEN 1 << 32 AND (1 << 32) + 5")
    connection.close()
    with DataDir.open(directory) as place:
        async with await SqliteJournal.open(place) as journal:
            assert [row.session_no for row in await journal.sessions()] == [2, 3]
            # Sessions go one after the other: when this one has gone, the other has.
            await journal.prune(2)
            assert await journal.page(1, 6) == []
            assert await journal.body_rows(1) == []
            assert [row.session_no for row in await journal.sessions()] == [3]
            assert journal.new_session_no() == 4
    with closing(sqlite3.connect(directory / "journal.db")) as connection, connection:
        assert connection.execute("SELECT count(*) FROM sessions").fetchone() == (1,)
    connection.close()
