"""What the stream of a set that was served holds."""

from __future__ import annotations

import orjson

from asyncblock.server.jetstream import PartitionNames
from asyncblock.server.jetstream.natsstore import NatsStore
from asyncblock.server.jetstream.streammessages import COMMIT

from .sets import Set

__all__ = ["check_stream"]


async def check_stream(found: Set, partition: int = 0) -> int:
    """No commit stands behind the takeover of another owner than its own; return how many owners there were."""
    names = PartitionNames(found.name, partition)
    store = await NatsStore.open(found.nats.urls)
    owners: list[str] = []
    term = 0
    last = await store.last_seq(names.stream)
    async for message in store.read(names.stream, [f"{names.prefix}.>"], last):
        if message.subject == names.own:
            term = message.seq
            owner = orjson.loads(message.data)["owner"]
            owners += [owner] if owner not in owners else []
        elif COMMIT in message.headers:
            assert int(message.headers[COMMIT].split(".")[0]) == term, message
    await store.close()
    return len(owners)
