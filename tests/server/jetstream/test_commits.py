from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from asyncblock.errors import Unavailable
from asyncblock.server.jetstream.commits import explain_refusal
from asyncblock.server.jetstream.natsstore import NatsRefused, NatsUnsure
from asyncblock.server.jetstream.streammessages import PartitionNames
from asyncblock.server.journal import Write
from asyncblock.testing.conformance.journal import entries, everything

from .servers import NatsServers


@pytest.mark.timeout(120)
async def test_servers_that_are_away_are_waited_for(tmp_path: Path) -> None:
    """Writes are kept, and stored when the server is back; closing meanwhile says what was not stored."""
    servers = NatsServers(tmp_path, 1, {})
    begun = asyncio.Event()
    over: list[bool] = []
    servers.start(0)
    try:
        await servers.ready()
        names = servers.new_names()
        journal = await servers.open(
            names, patience=1, on_trouble=lambda _: begun.set(), on_recovered=lambda: over.append(True)
        )
        await entries(journal, 1, [b"0"])
        servers.kill(0)
        write = Write()
        write.entry(1, 1, b"1")
        journal.write(write)
        await begun.wait()
        servers.start(0)
        await journal.flush()
        assert over == [True]
        assert await everything(journal, 1) == [(0, b"0"), (1, b"1")]
        servers.kill(0)
        lost = Write()
        lost.entry(1, 2, b"2")
        journal.write(lost)
        with pytest.raises(Unavailable, match="without storing 1 writes"):
            await journal.close()
    finally:
        servers.stop()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (NatsRefused(10077, "maximum bytes exceeded"), "raise the stream's max_bytes"),
        (NatsUnsure("timeout"), "it is tried again until the servers answer"),
    ],
)
def test_what_the_servers_said_comes_with_what_to_do(error: Exception, words: str) -> None:
    assert words in str(explain_refusal(error, PartitionNames("set1")))
