from __future__ import annotations

import asyncio
import re
import secrets
import time

from asyncblock.cli.clusters import findings_of_set
from asyncblock.server.cluster.beats import beat_subject, encode_beat
from asyncblock.server.cluster.clusterset import make_set
from asyncblock.server.cluster.ownership import Beat
from asyncblock.server.cluster.setstatus import set_status
from asyncblock.server.jetstream.natsstore import NatsStore

from ..jetstream.servers import NatsServers


async def test_members_are_heard_with_their_clocks_and_the_newest_owner_counts(one_server: NatsServers) -> None:
    name = f"s{secrets.token_hex(3)}"
    store, members = await NatsStore.open(one_server.urls), await NatsStore.open(one_server.urls)
    made = await make_set(store, name, 1, one_server.demands)
    subject = beat_subject(made.names(0))

    async def beat() -> None:
        now = int(time.time() * 1000)
        while True:
            await members.tell(subject, b"nonsense")
            await members.tell(subject, encode_beat(Beat("old/1", "owner", 8, 1, "ws://old"), now))
            await members.tell(subject, encode_beat(Beat("new/1", "owner", 16, 1, "ws://new"), now))
            await members.tell(subject, encode_beat(Beat("next/1", "standby", 16, 1, "ws://next"), now + 3_600_000))
            await asyncio.sleep(0.05)

    beating = asyncio.create_task(beat())
    try:
        status = await set_status(store, name)
    finally:
        beating.cancel()
        await asyncio.wait([beating])
        await store.close()
        await members.close()
    owner = status.owner_of(0)
    assert owner is not None
    assert (owner.member, owner.address, owner.term) == ("new/1", "ws://new", 16)
    assert {each.member: round(each.skew / 100) for each in status.members} == {"old/1": 0, "new/1": 0, "next/1": 36}
    [bad] = [each for each in findings_of_set(status) if not each.ok]
    assert re.match("next/1 is 3,(5|6)[0-9][0-9] s ahead", bad.words), bad.words
    assert "s ahead; times of events will confuse people: run NTP there" in bad.words
    assert [each.stream for each in status.streams] == [f"AB_{name}_0", f"AB_{name}_0_B"]
    assert status.problems == []
