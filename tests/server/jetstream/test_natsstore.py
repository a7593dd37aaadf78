from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from asyncblock.errors import Unavailable
from asyncblock.server.jetstream.natsstore import NatsRefused, NatsStore, NatsUnsure, StoreMessage, headers_size
from asyncblock.testing import FaultProxy

from .servers import NatsServers, running_servers


async def test_a_batch_is_stored_whole_or_not_at_all(one_server: NatsServers) -> None:
    store = await NatsStore.open(one_server.urls)
    config = {"name": "BATCH", "subjects": ["batch.*"], "allow_atomic": True}
    await store.ask("STREAM.CREATE.BATCH", config)
    messages = [StoreMessage(f"batch.{n}", b"%d" % n, {"A": "b"}) for n in range(700)]
    assert await store.append(messages, 0) == 700
    with pytest.raises(NatsRefused) as refused:
        await store.append(messages[:3], 699)
    assert refused.value.overtaken
    assert not refused.value.full
    assert await store.last_seq("BATCH") == 700
    found = [message async for message in store.read("BATCH", ["batch.*"], 700)]
    assert [(each.seq, each.subject, each.data) for each in found] == [
        (n + 1, f"batch.{n}", b"%d" % n) for n in range(700)
    ]
    heads = [message async for message in store.read("BATCH", ["batch.*"], 700, headers_only=True)]
    assert {(each.data, each.headers["A"]) for each in heads} == {(b"", "b")}
    found_one = await store.get("BATCH", seq=600)
    assert found_one is not None
    assert (found_one.data, found_one.headers["A"]) == (b"599", "b")
    assert await store.get("BATCH", seq=701) is None
    await store.purge("BATCH", "batch.*", 650)
    first = await store.get("BATCH", seq=1, next_by_subj=">")
    assert first is not None
    assert first.seq == 650
    await store.close()
    assert store.closed


async def test_a_message_of_a_subject_goes_behind_the_one_that_it_names(one_server: NatsServers) -> None:
    store = await NatsStore.open(one_server.urls)
    await store.ask("STREAM.CREATE.CHAIN", {"name": "CHAIN", "subjects": ["chain.*"]})
    first = await store.append_to_subject(StoreMessage("chain.a"), 0)
    await store.append_to_subject(StoreMessage("chain.b"), 0)
    with pytest.raises(NatsRefused) as refused:
        await store.append_to_subject(StoreMessage("chain.a"), 0)
    assert refused.value.overtaken
    await store.append_to_subject(StoreMessage("chain.a"), first)
    await store.close()


def test_headers_are_counted_as_they_are_sent() -> None:
    assert headers_size({"A": "b", "Cd": "\N{SNOWMAN}"}) == len("NATS/1.0\r\nA: b\r\nCd: \N{SNOWMAN}\r\n\r\n".encode())


@pytest.mark.parametrize("cut", [True, False])
async def test_what_was_asked_ends_with_a_connection_that_is_cut_or_hangs(cut: bool, one_server: NatsServers) -> None:
    """Whoever would wait for the answer of a server that is gone would store nothing meanwhile."""
    async with FaultProxy("127.0.0.1", urlsplit(one_server.urls[0]).port or 0) as proxy:
        store = await NatsStore.open([f"nats://127.0.0.1:{proxy.port}"], patience=1000)
        proxy.stall()
        asking = [asyncio.ensure_future(store.ask("INFO")) for _ in range(3)]
        await asyncio.sleep(0)
        if cut:
            proxy.cut()
        for each in asking:
            with pytest.raises(NatsUnsure, match="the connection ended before the answer came"):
                await each
        await proxy.until_accepted(2)
        while True:
            try:
                await store.ask("INFO")
                break
            except NatsUnsure:
                await asyncio.sleep(0.05)
        await store.close()


async def test_a_reader_whose_last_message_was_deleted_is_told(one_server: NatsServers) -> None:
    store = await NatsStore.open(one_server.urls, patience=1)
    await store.ask("STREAM.CREATE.GONE", {"name": "GONE", "subjects": ["gone.*"]})
    await store.put(StoreMessage("gone.a"))
    last = await store.put(StoreMessage("gone.b"))
    await store.purge("GONE", "gone.b", last + 1)
    with pytest.raises(NatsRefused, match=f"message {last} of stream GONE was deleted"):
        [_ async for _ in store.read("GONE", ["gone.*"], last)]
    await store.close()


# A cancel that comes just as a socket is open is asyncio's to lose: the collector closes it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_who_is_refused_is_told_so_however_the_answers_fall(tmp_path: Path) -> None:
    """nats-py tries again and again; a cancel that comes with an answer is lost in it."""
    async with running_servers(tmp_path, 1, {"user": "ab:secret"}) as servers:
        url = servers.urls[0].replace("//", "//ab:guessed@")

        async def refused(number: int) -> str:
            with pytest.raises(Unavailable) as caught:
                await NatsStore.open([url], patience=1 + number / 1000)
            return str(caught.value)

        async with asyncio.timeout(30):
            said = await asyncio.gather(*map(refused, range(100)))
    assert all("no NATS server lets us in" in words for words in said)
    assert any("Authorization Violation" in words for words in said)
    gc.collect()
