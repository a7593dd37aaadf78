from __future__ import annotations

import asyncio

import pytest

from asyncblock.errors import Closed, RemoteProtocolError, Unavailable
from asyncblock.server.jetstream.natsstore import NatsStore
from asyncblock.server.journal import BodyKey
from asyncblock.testing.conformance.journal import sum_of

from .servers import NatsServers

KEY = BodyKey("link", 1)


async def test_a_body_under_way_goes_on_under_the_next_owner(one_server: NatsServers) -> None:
    """Who was taken over can neither add to it nor delete it any more."""
    names = one_server.new_names()
    old = await one_server.open(names, owner="old", patience=2)
    assert await old.bodies.write(KEY, 0, b"abc") == 3
    new = await one_server.open(names, owner="new")
    assert new.bodies.under_way("link") == {1: 3}
    late = old.bodies.write(KEY, 3, b"XYZ")
    with pytest.raises(Unavailable, match="belongs to a later owner"):
        await late
    with pytest.raises(Unavailable, match="belongs to a later owner"):
        await old.bodies.discard(KEY)
    assert await new.bodies.write(KEY, 3, b"def") == 6
    await new.bodies.finish(KEY, 6, sum_of(b"abcdef"))
    assert await new.bodies.read(KEY, 0, 100) == b"abcdef"
    await old.close()
    await new.close()


async def test_a_body_that_an_earlier_owner_began_meanwhile_is_taken_over(one_server: NatsServers) -> None:
    """Its first chunk came after the new owner had looked: the sender sends it again, and it isn't there twice."""
    names = one_server.new_names()
    troubles: list[Exception] = []
    old = await one_server.open(names, owner="old")
    new = await one_server.open(names, owner="new", on_trouble=troubles.append)
    assert await old.bodies.write(KEY, 0, b"abc") == 3
    assert await new.bodies.write(KEY, 0, b"abcdef") == 6
    # Else all connections would be ended for each such body.
    assert troubles == []
    await new.bodies.finish(KEY, 6, sum_of(b"abcdef"))
    assert await new.bodies.read(KEY, 0, 100) == b"abcdef"
    await old.close()
    await new.close()


async def test_what_is_deleted_leaves_nothing_at_the_servers(one_server: NatsServers) -> None:
    names = one_server.new_names()
    journal = await one_server.open(names)
    await journal.bodies.write(KEY, 0, bytes(1_200_000))
    with pytest.raises(RemoteProtocolError, match="came with 1200000 bytes"):
        await journal.bodies.finish(KEY, 1_200_000, sum_of(b"other"))
    await journal.bodies.write(BodyKey("link", 2), 0, b"x")
    assert await journal.bodies.discard(BodyKey("link", 2)) == 1
    await journal.close()
    store = await NatsStore.open(one_server.urls)
    assert (await store.ask(f"STREAM.INFO.{names.bodies}"))["state"]["messages"] == 0
    await store.close()
    with pytest.raises(Closed):
        await asyncio.ensure_future(journal.bodies.read(KEY, 0, 1))
