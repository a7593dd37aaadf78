from __future__ import annotations

import asyncio

from asyncblock.errors import Closed
from asyncblock.server.jetstream.natsstore import NatsStore
from asyncblock.server.journal import Snapshot, Write
from asyncblock.server.journal.contract import BeginPrune
from asyncblock.testing.conformance.journal import entries, stored

from .servers import NatsServers


async def messages(servers: NatsServers, stream: str, subject: str) -> int:
    store = await NatsStore.open(servers.urls)
    info = await store.ask(f"STREAM.INFO.{stream}", {"subjects_filter": subject})
    await store.close()
    return sum((info["state"].get("subjects") or {}).values())


async def test_a_deletion_that_was_interrupted_is_ended_by_the_next_opening(one_server: NatsServers) -> None:
    names = one_server.new_names()
    journal = await one_server.open(names)
    for number in (1, 2):
        await entries(journal, number, [b"x" * 1000] * 3)
    hidden = Write()
    hidden.rows.append(BeginPrune(1))
    # As far as a prune had come when its owner died.
    never: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    journal.bodies.delete_pruned = lambda keys: never  # type: ignore[method-assign]
    await stored(journal, hidden)
    assert await messages(one_server, names.stream, names.entries(1)) == 1
    again = await one_server.open(names)
    assert [row.session_no for row in await again.sessions()] == [2]
    # They go one after the other: when this one has gone, the other has.
    assert await again.prune(2) == 3000
    assert await messages(one_server, names.stream, names.entries("*")) == 0
    await again.close()
    never.set_exception(Closed("died"))
    await journal.close()


async def test_snapshots_that_others_replaced_are_deleted(one_server: NatsServers) -> None:
    names = one_server.new_names()
    journal = await one_server.open(names)
    await entries(journal, 1, [b""] * 9)
    for offset in range(1, 9):
        write = Write()
        write.snapshot(Snapshot(session_no=1, offset=offset, payload=b"s"))
        await stored(journal, write)
    # Deletions are done one after the other; sessions first, so that this one is behind nothing but the last.
    await journal.close()
    assert await messages(one_server, names.stream, names.snapshots(1)) <= 2
    async with await one_server.open(names) as again:
        assert (await again.snapshot(1)) == Snapshot(session_no=1, offset=8, payload=b"s")
