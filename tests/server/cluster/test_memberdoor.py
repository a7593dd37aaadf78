"""What a member of a set of several partitions answers."""

from __future__ import annotations

from pathlib import Path

import httpx

from asyncblock.transport.upgrades import PARTITION_HEADER

from ..jetstream.servers import NatsServers
from .sets import a_set


async def test_a_member_says_what_it_owns_and_sends_others_on_by_partition(
    one_server: NatsServers, tmp_path: Path
) -> None:
    async with a_set(one_server, tmp_path, partitions=2) as found:
        await found.spread(*found.members)
        who = {"Authorization": f"Bearer {found.reach[-1]}"}
        async with httpx.AsyncClient(trust_env=False) as client:
            owned: list[int] = []
            for member, other in (found.members, found.members[::-1]):
                told = (await client.get(member.health)).json()
                assert (told["status"], told["partitions"]) == ("ok", 2)
                [own] = told["owned"]
                owned.append(own)
                url = member.url.replace("ws:", "http:")
                sent_on = await client.get(url, headers={**who, PARTITION_HEADER: str(1 - own)})
                assert (sent_on.status_code, sent_on.headers["Asyncblock-Owner"]) == (503, other.url)
                lines = (await client.get(f"{url}/metrics", headers=who)).text.splitlines()
                assert f'asyncblock_owner{{partition="{own}"}} 1' in lines
                assert f'asyncblock_owner{{partition="{1 - own}"}} 0' in lines
                assert f'asyncblock_links{{partition="{own}"}} 0' in lines
                assert sum(line.startswith("# TYPE asyncblock_owner ") for line in lines) == 1
                refused = await client.get(url, headers={**who, PARTITION_HEADER: "2"})
                assert (refused.status_code, refused.text) == (
                    400,
                    "Asyncblock-Partition is a number from 0 to 1, not '2'\n",
                )
                assert (await client.get(url, headers={PARTITION_HEADER: "2"})).status_code == 401
            assert sorted(owned) == [0, 1]
