from __future__ import annotations

import pytest

from asyncblock.server.jetstream.natsstore import NatsRefused, NatsStore, StoreMessage, headers_size

from .servers import NatsServers


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
