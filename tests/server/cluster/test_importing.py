from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from pathlib import Path

import pytest

from asyncblock.errors import Unavailable
from asyncblock.server.cluster.clusterservers import ClusterServers
from asyncblock.server.cluster.clusterset import SetDescription, make_set
from asyncblock.server.cluster.importing import Imported, import_sessions
from asyncblock.server.jetstream import JetStreamJournal
from asyncblock.server.jetstream.natsstore import NatsStore
from asyncblock.server.journal import BodyKey, BodyRow, SessionRow, SqliteJournal, Write
from asyncblock.server.journal.datadir import DataDir
from asyncblock.testing.conformance.journal import everything, stored, sum_of

from ..jetstream.servers import NatsServers

BODY = b"b" * (3 << 20)
KEY = BodyKey("worker", 7)

ENDED = SessionRow(
    session_no=1, session_id="ended", created_at=5, state="succeeded", title="t", path="p", finished_at=9
)
LARGE = SessionRow(session_no=3, session_id="large", created_at=6, state="failed", finished_at=8, error="why")
RUNS = SessionRow(session_no=2, session_id="runs", created_at=7, state="running")

ROWS = {"ended": [b"first", b"last"], "large": [b"%d" % n * 200_000 for n in range(60)], "runs": [b"only"]}


async def fill(directory: Path) -> None:
    """Make a journal of three sessions, one of which runs, and one has a large value."""
    with DataDir.open(directory) as place:
        journal = await SqliteJournal.open(place)
        await journal.bodies.write(KEY, 0, BODY)
        await journal.bodies.finish(KEY, len(BODY), sum_of(BODY))
        for row in (ENDED, RUNS, LARGE):
            write = Write()
            write.session(row)
            if row is ENDED:
                write.body(BodyRow(session_no=1, link_id=KEY.link_id, n=KEY.n, length=len(BODY), sha256=sum_of(BODY)))
            for offset, payload in enumerate(ROWS[row.session_id]):
                write.entry(row.session_no, offset, payload)
            await stored(journal, write)
        await journal.close()


async def new_set(servers: NatsServers) -> SetDescription:
    store = await NatsStore.open(servers.urls)
    made = await make_set(store, f"s{secrets.token_hex(3)}", 1, servers.demands)
    await store.close()
    return made


async def check(servers: NatsServers, made: SetDescription) -> None:
    """The set has the sessions that have ended, and nothing else."""
    async with await JetStreamJournal.open(servers.urls, made.names(0), made.demands) as journal:
        assert journal.epoch == made.epoch
        found = {row.session_id: row for row in await journal.sessions()}
        assert found.keys() == {"ended", "large"}
        for row in (ENDED, LARGE):
            there = found[row.session_id]
            assert replace(there, session_no=row.session_no, rows=0, bytes=0) == row
            expected = [*enumerate(ROWS[row.session_id])]
            assert await everything(journal, there.session_no) == expected
        assert await journal.bodies.session_of(KEY) == found["ended"].session_no
        assert await journal.bodies.read(KEY, 0, len(BODY)) == BODY


async def test_ended_sessions_are_copied_once(one_server: NatsServers, tmp_path: Path) -> None:
    await fill(tmp_path)
    servers, made = ClusterServers(tuple(one_server.urls)), await new_set(one_server)
    done = await import_sessions(servers, made, tmp_path)
    size = len(BODY) + sum(map(len, [*ROWS["ended"], *ROWS["large"]]))
    assert done == Imported(sessions=2, bodies=1, bytes=size, running=1)
    await check(one_server, made)
    assert await import_sessions(servers, made, tmp_path) == Imported(present=2, running=1)


async def test_a_session_that_a_broken_import_left_is_copied_anew(one_server: NatsServers, tmp_path: Path) -> None:
    await fill(tmp_path)
    servers, made = ClusterServers(tuple(one_server.urls)), await new_set(one_server)
    (tmp_path / "bodies").rename(tmp_path / "away")
    with pytest.raises(Unavailable, match=r"the large value .*worker.* can't be read: No such file"):
        await import_sessions(servers, made, tmp_path)
    (tmp_path / "away").rename(tmp_path / "bodies")
    async with await JetStreamJournal.open(one_server.urls, made.names(0), made.demands) as journal:
        write = Write()
        number = journal.new_session_no()
        write.session(replace(LARGE, session_no=number, finished_at=None))
        write.entry(number, 0, ROWS["large"][0])
        await stored(journal, write)
    assert (await import_sessions(servers, made, tmp_path)).sessions == 2
    await check(one_server, made)


async def test_a_file_that_is_no_journal_is_told(one_server: NatsServers, tmp_path: Path) -> None:
    (tmp_path / "journal.db").write_text("something else" * 100)
    with pytest.raises(Unavailable, match=r"the journal in .* can't be read: file is not a database"):
        await import_sessions(ClusterServers(tuple(one_server.urls)), await new_set(one_server), tmp_path)


async def test_a_member_that_takes_over_ends_it(one_server: NatsServers, tmp_path: Path) -> None:
    await fill(tmp_path)
    servers, made = ClusterServers(tuple(one_server.urls)), await new_set(one_server)
    importing = asyncio.create_task(import_sessions(servers, made, tmp_path))
    store = await NatsStore.open(one_server.urls)
    while await store.get(made.names(0).stream, last_by_subj=made.names(0).own) is None:
        continue
    member = await JetStreamJournal.open(one_server.urls, made.names(0), made.demands, owner="member")
    # It notices at its next row, or at the next part of a large value.
    with pytest.raises(Unavailable, match=r"member has taken over|belongs to a later owner"):
        await importing
    await member.close()
    await store.close()
    await import_sessions(servers, made, tmp_path)
    await check(one_server, made)
