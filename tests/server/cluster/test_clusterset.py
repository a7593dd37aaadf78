"""Sets are made whole and once, whoever makes them at the same time."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from asyncblock.errors import Unavailable
from asyncblock.server.cluster.clusterset import SetDescription, make_set, read_set
from asyncblock.server.jetstream import JetStreamJournal, PartitionNames
from asyncblock.server.jetstream.natsstore import NatsStore, StoreMessage

from ..jetstream.servers import NatsServers


@asynccontextmanager
async def connected(servers: NatsServers) -> AsyncIterator[NatsStore]:
    store = await NatsStore.open(servers.urls)
    try:
        yield store
    finally:
        await store.close()


def new_name() -> str:
    return f"s{secrets.token_hex(3)}"


async def test_of_two_that_make_a_set_at_once_one_has_made_it(one_server: NatsServers) -> None:
    name = new_name()
    async with connected(one_server) as first, connected(one_server) as second:
        made = await asyncio.gather(
            *(make_set(store, name, 1, one_server.demands) for store in (first, second)), return_exceptions=True
        )
        [description] = [each for each in made if isinstance(each, SetDescription)]
        [refused] = [each for each in made if isinstance(each, Unavailable)]
        assert name in str(refused)
        assert await read_set(first, name) == description
        assert await read_set(second, name, 1) == description
        with pytest.raises(Unavailable, match=f"set {name} has partitions 1, not 32"):
            await read_set(first, name, 32)


async def test_one_whose_making_was_interrupted_is_made_by_the_next_call(one_server: NatsServers) -> None:
    name = new_name()
    async with connected(one_server) as store:
        making = asyncio.create_task(make_set(store, name, 1, one_server.demands))
        while not making.done():
            try:
                await store.ask(f"STREAM.INFO.{PartitionNames(name).stream}")
                making.cancel()
                break
            except Exception:  # it isn't there yet
                continue
        await asyncio.wait([making])
        if making.cancelled():
            await make_set(store, name, 1, one_server.demands)
        assert (await read_set(store, name)).name == name


async def test_streams_that_hold_somebodys_journal_are_no_set(one_server: NatsServers) -> None:
    name = new_name()
    names = PartitionNames(name)
    async with await JetStreamJournal.open(one_server.urls, names, one_server.demands):
        pass
    async with connected(one_server) as store:
        with pytest.raises(Unavailable, match=f"stream AB_{name}_0 holds messages, and no set {name} is described"):
            await make_set(store, name, 1, one_server.demands)
        with pytest.raises(Unavailable, match=f"there is no set {name}"):
            await read_set(store, name)


async def test_a_description_that_was_changed_by_hand_is_refused(one_server: NatsServers) -> None:
    name = new_name()
    async with connected(one_server) as store:
        await make_set(store, name, 1, one_server.demands)
        await store.put(StoreMessage(f"$KV.AB_{name}.set", b'{"name": "other"}'))
        with pytest.raises(Unavailable, match=f"key 'set' of bucket AB_{name} was changed by hand"):
            await read_set(store, name)
