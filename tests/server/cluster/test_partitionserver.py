from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

from asyncblock.server.cluster.clusterservers import ClusterServers
from asyncblock.server.cluster.clusterset import SetDescription, make_set
from asyncblock.server.cluster.partitionserver import PartitionServer
from asyncblock.server.jetstream import JetStreamJournal, Overtaken
from asyncblock.server.jetstream.natsstore import NatsStore
from asyncblock.server.journal.datadir import DataDir
from asyncblock.server.settings import Settings

from ...peers import Host, node, plan
from ..jetstream.servers import NatsServers


def serve(servers: NatsServers, place: DataDir, made: SetDescription, owner: str, before: str) -> PartitionServer:
    return PartitionServer(
        place,
        ClusterServers(tuple(servers.urls)),
        made,
        0,
        Settings(snapshot_bytes=100_000, no_executor_timeout=1000),
        owner=owner,
        instead_of=before,
        on_taken=lambda _: None,
        on_overtaken=lambda _: None,
    )


async def test_a_session_of_many_jobs_changes_hands_by_its_snapshot(one_server: NatsServers, tmp_path: Path) -> None:
    """Another process makes it, which asks for the rows; it has more bytes than a message of the servers may have."""
    jobs = 3000
    store = await NatsStore.open(one_server.urls)
    made = await make_set(store, f"s{secrets.token_hex(3)}", 1, one_server.demands)
    await store.close()
    after = node("b", {"v": {"sources": [["a", "out"]]}}, concurrency=-1)
    with DataDir.open(tmp_path / "data") as place:
        async with serve(one_server, place, made, "first", "") as server:
            worker = Host(server).peer()
            await worker.hello("worker", slots=1)
            await worker.ask("start", session_id="s", plan=plan(node("a"), after))
            channel = (await worker.until("dispatch"))["channel"]
            output = {"type": "BlockOutput", "handle": "out", "done": False, "t": 1}
            said = [{**output, "output": n} for n in range(jobs)]
            await worker.batch(1, channel, {"type": "JobStarted", "t": 1}, *said)
            session = server.sessions.running["s"]
            while (task := server.sessions.refolding.task) is None or len(session.jobs) < jobs + 1:
                # Each question is answered between two steps of what follows from the batch.
                await worker.ask("info")
            await task
            await server.journal.flush()
            snapshot = await server.journal.snapshot(session.number)
            assert snapshot is not None
            assert snapshot.offset > 0
        async with serve(one_server, place, made, "second", "first") as server:
            again = server.sessions.running["s"]
            assert len(again.jobs) == jobs + 1
            assert again.next_offset >= snapshot.offset


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
