from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from asyncblock.errors import AsyncBlockError, LocalProtocolError, Unavailable
from asyncblock.server.jetstream import JetStreamJournal, Overtaken
from asyncblock.server.journal import BodyKey, BodyRow, Journal, Snapshot, Write
from asyncblock.testing.conformance.journal import CHECKS, entries, everything, link, session, stored, sum_of

from .lossy import LossyStore
from .servers import NatsServers

ON_THREE = (
    "check_a_large_write_is_one_write",
    "check_prune",
    "check_links",
    "check_bodies_of_nobody_go",
    "check_everything_is_there_after_reopening",
)


@asynccontextmanager
async def place(servers: NatsServers) -> AsyncIterator[JetStreamPlace]:
    found = JetStreamPlace(servers)
    yield found
    await servers.delete(found.names)


class JetStreamPlace:
    """Where one journal lives."""

    def __init__(self, servers: NatsServers) -> None:
        self.servers = servers
        self.names = servers.new_names()

    async def __call__(self) -> Journal:
        return await self.servers.open(self.names)

    async def open(self, **options: object) -> JetStreamJournal:
        return await self.servers.open(self.names, **options)


@pytest.mark.parametrize("name", CHECKS)
async def test_it_keeps_the_contract_on_one_server(name: str, one_server: NatsServers) -> None:
    async with place(one_server) as open_journal:
        await CHECKS[name](open_journal)


@pytest.mark.timeout(600)
async def test_it_keeps_the_contract_on_three_servers(three_servers: NatsServers) -> None:
    """Some rules in each run; with ASYNCBLOCK_NATS=all every one, which takes minutes."""
    for name in CHECKS if os.environ.get("ASYNCBLOCK_NATS") == "all" else ON_THREE:
        async with place(three_servers) as open_journal:
            await CHECKS[name](open_journal)


@pytest.mark.parametrize("fault", ["ack", "late", "between"])
async def test_a_write_of_unknown_outcome_is_stored_once(fault: str, one_server: NatsServers) -> None:
    """Whether its acknowledgement was lost, or it comes late, behind or before what is written next."""
    edges: list[str] = []
    async with place(one_server) as where:
        stores: list[LossyStore] = []

        async def connect(*args: object, **options: object) -> LossyStore:
            stores.append(await LossyStore.open(*args, **options))  # type: ignore[arg-type]
            return stores[-1]

        journal = await where.open(
            connect=connect, on_trouble=lambda _: edges.append("trouble"), on_recovered=lambda: edges.append("over")
        )
        await entries(journal, 1, [b"0"])
        stores[0].faults = [fault, fault]
        ran: list[int] = []
        for offset in range(1, 4):
            write = Write(lambda offset=offset: ran.append(offset))  # type: ignore[misc]  # default binds
            write.entry(1, offset, b"%d" % offset)
            write.session(session(offset + 1))
            write.mark(7, offset)
            journal.write(write)
            await journal.flush()
        assert ran == [1, 2, 3]
        # Where nothing was stored it is tried again within the same trouble.
        assert edges == ["trouble", "over"] * (1 if fault == "late" else 2)
        expected = [(offset, b"%d" % offset) for offset in range(4)]
        assert await everything(journal, 1) == expected
        # The late ones found another number than theirs; those that came between were found and kept.
        assert stores[0].late == {"ack": [], "late": [10071] * 2, "between": [0, 0]}[fault]
        await journal.close()
        async with await where.open() as again:
            assert await everything(again, 1) == expected
            assert [row.session_no for row in await again.sessions()] == [1, 2, 3, 4]


async def test_who_has_been_taken_over_says_so_and_stores_nothing_more(one_server: NatsServers) -> None:
    told: list[Overtaken] = []
    trouble: list[AsyncBlockError] = []
    async with place(one_server) as where:
        old = await where.open(owner="old", on_overtaken=told.append, on_trouble=trouble.append)
        await entries(old, 1, [b"kept"])
        new = await where.open(owner="new")
        assert not new.opening.clean
        late = Write(lambda: pytest.fail("it isn't stored"))
        late.entry(1, 1, b"never")
        old.write(late)
        with pytest.raises(Unavailable, match=r"without storing 1 writes .* new has taken over partition"):
            await old.close()
        assert [str(error) for error in told] == [str(old.trouble)]
        assert trouble[-1] is told[0]
        await entries(new, 1, [b"after"])
        assert await everything(new, 1) == [(0, b"kept"), (1, b"after")]
        await new.close()
        async with await where.open() as again:
            assert again.opening.clean
            assert again.epoch == old.epoch == new.epoch
            assert await everything(again, 1) == [(0, b"kept"), (1, b"after")]


async def test_marks_outlive_the_session_that_they_came_with(one_server: NatsServers) -> None:
    async with place(one_server) as where:
        async with await where.open() as journal:
            write = Write()
            write.link(link(1))
            write.session(session(1))
            await stored(journal, write)
            with_mark = Write()
            with_mark.entry(1, 0, b"x")
            with_mark.mark(1, 9)
            await stored(journal, with_mark)
            await journal.prune(1)
        async with await where.open() as again:
            assert await again.links() == [replace(link(1), stored_seq=9)]
            assert await again.sessions() == []


async def test_large_things_are_read_as_they_were_written(one_server: NatsServers) -> None:
    """Entries of the wire's largest message, a snapshot and a body of several parts."""
    async with place(one_server) as where:
        big, snapshot, body = bytes(4 << 20), b"s" * (3 << 20), b"b" * (1_700_000)
        async with await where.open() as journal:
            await entries(journal, 1, [b"a", big, b"c"])
            write = Write()
            write.snapshot(Snapshot(session_no=1, offset=2, payload=snapshot))
            await stored(journal, write)
            key = BodyKey("link", 1)
            await journal.bodies.write(key, 0, body)
            await journal.bodies.finish(key, len(body), sum_of(body))
            named = Write()
            named.body(BodyRow(session_no=1, link_id="link", n=1, length=len(body), sha256=sum_of(body)))
            await stored(journal, named)
        async with await where.open() as again:
            assert await everything(again, 1) == [(0, b"a"), (1, big), (2, b"c")]
            assert await again.snapshot(1) == Snapshot(session_no=1, offset=2, payload=snapshot)
            assert await again.bodies.read(key, 600_000, 900_000) == body[600_000:1_500_000]
            await again.bodies.finish(key, len(body), sum_of(body))
            too_big = Write()
            too_big.entry(1, 3, bytes(6_300_000))
            with pytest.raises(LocalProtocolError, match="max_payload of 8388608 allows 6262784"):
                again.write(too_big)
            await entries(again, 1, [bytes(6_262_784)])
            assert await again.entry(1, 3) == bytes(6_262_784)


async def test_a_full_stream_is_told_and_goes_on_when_there_is_room(one_server: NatsServers) -> None:
    begun, over = asyncio.Event(), asyncio.Event()
    async with place(one_server) as where:
        demands = replace(one_server.demands, max_bytes=2 << 20)
        journal = await JetStreamJournal.open(
            one_server.urls, where.names, demands, on_trouble=lambda _: begun.set(), on_recovered=over.set
        )
        await entries(journal, 1, [b""])
        for offset in range(1, 6):
            write = Write()
            write.entry(1, offset, bytes(500_000))
            journal.write(write)
        await begun.wait()
        assert "raise the stream's max_bytes" in str(journal.trouble)
        store = await LossyStore.open(one_server.urls)
        config = (await store.ask(f"STREAM.INFO.{where.names.stream}"))["config"]
        await store.ask(f"STREAM.UPDATE.{where.names.stream}", {**config, "max_bytes": 64 << 20})
        await store.close()
        await journal.flush()
        assert over.is_set()
        assert [len(payload) for _, payload in await everything(journal, 1)] == [0] + [500_000] * 5
        await journal.close()
