from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

from asyncblock.server.cluster.clusterservers import ClusterServers
from asyncblock.server.cluster.clusterset import make_set
from asyncblock.server.cluster.partitionserver import PartitionServer
from asyncblock.server.jetstream import JetStreamJournal, Overtaken
from asyncblock.server.jetstream.natsstore import NatsStore
from asyncblock.server.journal.datadir import DataDir
from asyncblock.server.settings import Settings

from ...peers import Host, node, plan
from ..jetstream.servers import NatsServers


async def test_what_is_taken_from_it_cuts_its_connections_and_ends_without_an_error(
    one_server: NatsServers, tmp_path: Path
) -> None:
    store = await NatsStore.open(one_server.urls)
    made = await make_set(store, f"s{secrets.token_hex(3)}", 1, one_server.demands)
    await store.close()
    overtaken: asyncio.Queue[Overtaken] = asyncio.Queue()
    terms: list[int] = []
    with DataDir.open(tmp_path / "data") as place:
        server = PartitionServer(
            place,
            ClusterServers(tuple(one_server.urls)),
            made,
            0,
            Settings(),
            owner="first",
            instead_of="",
            on_taken=terms.append,
            on_overtaken=overtaken.put_nowait,
        )
        async with server:
            assert terms == [server.journal.term]
            assert server.journal.epoch == made.epoch
            host = Host(server)
            peer = host.peer()
            assert (await peer.hello())["epoch"] == made.epoch
            answer = await peer.ask("start", session_id="kept", plan=plan(node("n")), inputs={})
            assert answer.get("error") is None, answer
            await server.journal.prove()
            taken = await JetStreamJournal.open(one_server.urls, made.names(0), made.demands, owner="second")
            await peer.say("request", id="late", method="start", params={"session_id": "late", "plan": plan(node("n"))})
            assert (await overtaken.get()).owner == "second"
            await peer.ended()
            assert server.trouble is not None
            assert "second has taken over partition 0" in server.trouble
        assert [row.session_id for row in await taken.sessions()] == ["kept"]
        await taken.close()
