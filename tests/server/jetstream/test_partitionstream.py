from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from asyncblock.errors import Unavailable
from asyncblock.server.jetstream import Demands, JetStreamJournal, PartitionNames
from asyncblock.server.jetstream.natsstore import NatsStore
from asyncblock.server.jetstream.partitionstream import prepare_streams

from .servers import NatsServers, nats_servers


class OldStore(NatsStore):
    """A connection to a server that says that it is an older one."""

    @property
    def version(self) -> tuple[int, int]:
        """An older one."""
        return 2, 11


@pytest.mark.parametrize(
    ("demands", "words"),
    [
        (Demands(servers_sync_always=False, replicas=1), "set 'sync_interval: always'"),
        (Demands(servers_sync_always=True, replicas=3), "replicas > 1 not supported in non-clustered mode"),
    ],
)
async def test_what_cannot_keep_the_promise_is_refused(demands: Demands, words: str, one_server: NatsServers) -> None:
    with pytest.raises(Unavailable, match=words):
        await JetStreamJournal.open(one_server.urls, one_server.new_names(), demands)


async def test_an_older_server_is_refused(one_server: NatsServers) -> None:
    store = await OldStore.open(one_server.urls)
    with pytest.raises(Unavailable, match=r"version 2\.11; atomic batches came with 2\.12: update the servers"):
        await prepare_streams(store, one_server.new_names(), one_server.demands)
    await store.close()


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("max_msgs", 100, "has max_msgs 100; the journal needs -1"),
        ("discard", "old", "has discard 'old'; the journal needs 'new'"),
        ("allow_atomic", False, "has allow_atomic False; the journal needs True"),
        ("max_age", 3_600_000_000_000, "has max_age 3600000000000; the journal needs 0"),
    ],
)
async def test_a_stream_whose_settings_lose_data_is_refused(
    setting: str, value: object, words: str, one_server: NatsServers
) -> None:
    names = one_server.new_names()
    await (await one_server.open(names)).close()
    store = await NatsStore.open(one_server.urls)
    config = (await store.ask(f"STREAM.INFO.{names.stream}"))["config"]
    await store.ask(f"STREAM.UPDATE.{names.stream}", {**config, setting: value})
    with pytest.raises(Unavailable, match=words):
        await one_server.open(names)
    await store.close()


async def test_a_stream_with_fewer_replicas_than_asked_for_is_refused(one_server: NatsServers) -> None:
    names = one_server.new_names()
    await (await one_server.open(names)).close()
    with pytest.raises(Unavailable, match="has num_replicas 1; 3 are asked for"):
        await JetStreamJournal.open(one_server.urls, names, replace(one_server.demands, replicas=3))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_payload": "1048576"}, "max_payload is 1048576; set 'max_payload: 8388608' or more"),
        ({"jetstream": "off"}, "has no JetStream"),
    ],
)
def test_a_server_that_cannot_hold_it_is_refused(settings: dict[str, str], words: str, tmp_path: Path) -> None:
    async def attempt(servers: NatsServers) -> None:
        with pytest.raises(Unavailable, match=words):
            while True:
                try:
                    await JetStreamJournal.open(servers.urls, PartitionNames("x"), servers.demands)
                except Unavailable as error:
                    if "lets us in" not in str(error):
                        raise

    with nats_servers(tmp_path, 1, settings) as servers:
        asyncio.run(attempt(servers))


async def test_no_server_is_said_so() -> None:
    with pytest.raises(Unavailable, match=r"no NATS server lets us in at nats://127\.0\.0\.1:1"):
        await JetStreamJournal.open(
            ["nats://127.0.0.1:1"], PartitionNames("x"), Demands(servers_sync_always=True), patience=0.5
        )
