"""A client of a set with several partitions: it sees one mainframe, whichever member owns what."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

import asyncblock
from asyncblock.client import Mainframe, Pruned, Session
from asyncblock.errors import Rejected
from asyncblock.wire.placement import partition_of

from ..server.cluster.sets import a_set
from ..server.jetstream.servers import NatsServers, nats_servers

PARTITIONS = 3


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServers]:
    with nats_servers(tmp_path_factory.mktemp("nats")) as servers:
        yield servers


@asyncblock.block
async def nothing() -> None:
    return


async def start_in_each(mainframe: Mainframe, least: int) -> list[Session]:
    """Start sessions, which wait for an executor, until each partition has so many of them."""
    flow = asyncblock.Flow("waits")
    flow.node(nothing)
    sessions: list[Session] = []
    counts = Counter(dict.fromkeys(range(PARTITIONS), 0))
    while min(counts.values()) < least:
        sessions.append(await mainframe.start(flow))
        counts[partition_of(sessions[-1].session_id, PARTITIONS)] += 1
    return sessions


@pytest.mark.timeout(240)
async def test_a_client_sees_a_set_of_several_partitions_as_one_mainframe(nats: NatsServers, tmp_path: Path) -> None:
    async with a_set(nats, tmp_path, partitions=PARTITIONS) as found:
        await found.spread(*found.members)
        _, url, _, token = found.reach
        async with asyncblock.connect(url, token) as mainframe:
            begun = await start_in_each(mainframe, 2)
            assert (await mainframe.info())["sessions"]["known"] == len(begun)

            listed = await mainframe.sessions(limit=None)
            assert sorted(each.session_id for each in listed) == sorted(each.session_id for each in begun)
            assert listed == sorted(listed, key=lambda each: (each.created_at, each.session_id), reverse=True)
            page = await mainframe.sessions(limit=3)
            page += await mainframe.sessions(limit=2, before=page[-1])
            assert [each.session_id for each in page] == [each.session_id for each in listed[:5]]
            [one] = await mainframe.sessions(prefix=begun[0].session_id)
            assert one.session_id == begun[0].session_id == (await begun[0].info()).session_id

            # A member is killed; the other one owns everything then.
            found.members[0].command.kill(signal.SIGKILL)
            begun += await start_in_each(mainframe, 1)
            for each in begun:
                await each.cancel("enough")
                # Or it has waited for an executor in vain, where the machine is slow.
                assert (await each.wait()).state in ("cancelled", "failed")

            listed = await mainframe.sessions(limit=None)
            assert sorted(each.session_id for each in listed) == sorted(each.session_id for each in begun)
            assert await mainframe.prune(keep=len(begun)) == Pruned((), 0)
            gone = await mainframe.prune(keep=2)
            assert sorted(gone.sessions) == sorted(each.session_id for each in listed[2:])
            assert await mainframe.sessions() == listed[:2]
            assert len((await mainframe.prune(keep=0)).sessions) == 2

            assert await mainframe.executors() == []
            with pytest.raises(Rejected, match="no executor 'nobody' is here"):
                await mainframe.drain("nobody")


@pytest.mark.timeout(240)
async def test_a_session_isnt_started_in_a_partition_that_isnt_its_own(nats: NatsServers, tmp_path: Path) -> None:
    async with a_set(nats, tmp_path, members=1, partitions=PARTITIONS) as found:
        await found.spread(*found.members)
        _, url, _, token = found.reach
        async with asyncblock.connect(url, token) as mainframe:
            elsewhere = next(name for n in count() if partition_of(name := f"s{n}", PARTITIONS) != 0)
            with pytest.raises(Rejected, match=f"session '{elsewhere}' is for another partition of the set") as refused:
                await mainframe.link.request("start", {"session_id": elsewhere, "plan": {}})
            assert refused.value.code == "partition"
