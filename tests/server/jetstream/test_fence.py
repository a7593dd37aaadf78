from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from asyncblock.errors import Unavailable
from asyncblock.server.jetstream.fence import PADDING, Fence, Overtaken
from asyncblock.server.jetstream.natsstore import NatsRefused, NatsStore, StoreMessage
from asyncblock.server.jetstream.partitionstream import prepare_streams
from asyncblock.server.journal import Journal, SqliteJournal
from asyncblock.server.journal.datadir import DataDir
from asyncblock.testing.conformance.journal import entries, everything

from .servers import NatsServers

ROOT = Path(__file__).parents[3]

on_request = pytest.mark.skipif(os.environ.get("ASYNCBLOCK_NATS") != "all", reason="set ASYNCBLOCK_NATS=all: minutes")


def start_writer(servers: NatsServers, partition: int) -> subprocess.Popen[bytes]:
    module = "tests.server.jetstream.paused_writer"
    command = [sys.executable, "-m", module, ",".join(servers.urls), "test", str(partition), str(servers.count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)


def lines_of(process: subprocess.Popen[bytes], count: int) -> list[int]:
    assert process.stdout is not None
    return [int(process.stdout.readline()) for _ in range(count)]


@pytest.mark.timeout(180)
async def test_nothing_of_a_paused_owner_appears_when_it_wakes(one_server: NatsServers) -> None:
    """Stopped in the middle of its writes, taken over, woken with what it had in flight."""
    await pause_and_take_over(one_server)


@on_request
@pytest.mark.timeout(600)
async def test_nothing_of_a_paused_owner_appears_on_three_servers(three_servers: NatsServers) -> None:
    """The same where its messages go through a leader and its followers."""
    await pause_and_take_over(three_servers)


async def pause_and_take_over(servers: NatsServers) -> None:
    names = servers.new_names()
    expected: list[bytes] = []
    for round_no in range(3):
        process = start_writer(servers, names.partition)
        try:
            reported = await asyncio.to_thread(lines_of, process, 150 + 70 * round_no)
            process.send_signal(signal.SIGSTOP)
            journal = await servers.open(names, owner="next")
            found = [payload for _, payload in await everything(journal, 1)]
            # What it was told is there, what it wasn't told of may be.
            assert len(found) > reported[-1]
            assert found == expected + [b"paused %d" % n for n in range(len(expected), len(found))]
            await entries(journal, 1, [b"next 0", b"next 1"])
            process.send_signal(signal.SIGCONT)
            assert process.stdout is not None
            said = await asyncio.to_thread(process.stdout.read)
            assert said.split()[-1] == b"overtaken"
            assert all(int(line) < len(found) for line in said.split()[:-1])
            await entries(journal, 1, [b"next 2"])
            expected = [*found, b"next 0", b"next 1", b"next 2"]
            assert [payload for _, payload in await everything(journal, 1)] == expected
            await journal.close()
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
    again = await servers.open(names)
    assert [payload for _, payload in await everything(again, 1)] == expected
    assert (await again.sessions())[0].rows == len(expected)
    await again.close()


async def test_an_append_in_flight_finds_no_number_of_the_takeover(one_server: NatsServers) -> None:
    """Whatever number it expects, of as many as an owner may have in flight."""
    names = one_server.new_names()
    store = await NatsStore.open(one_server.urls)
    await prepare_streams(store, names, one_server.demands)
    old, new = Fence(store, names, "old"), Fence(store, names, "new")
    await old.take_over()
    last = old.last
    await new.take_over()
    assert (new.last, new.epoch) == (last + PADDING, old.epoch)
    for expected in range(last, last + PADDING):
        with pytest.raises(NatsRefused) as refused:
            await store.append([StoreMessage(names.meta, b"[]")], expected)
        assert refused.value.overtaken
    with pytest.raises(Overtaken, match="new has taken over"):
        await old.resolve("none")
    # And the new one goes on: who found out has written nothing.
    await new.append([StoreMessage(names.meta, b"[]")])
    await store.close()


async def test_a_takeover_names_whom_it_follows(one_server: NatsServers) -> None:
    """Two that hear nothing of an owner don't take the partition from each other."""
    names = one_server.new_names()
    store = await NatsStore.open(one_server.urls)
    await prepare_streams(store, names, one_server.demands)
    first, second, third = (Fence(store, names, owner) for owner in ("first", "second", "third"))
    terms: list[int] = []
    first.on_taken = terms.append
    await first.take_over(instead_of="")
    assert terms == [first.term] == [PADDING]
    with pytest.raises(Overtaken, match="first has taken over") as overtaken:
        await second.take_over(instead_of="")
    assert overtaken.value.owner == "first"
    await second.take_over(instead_of="first")
    with pytest.raises(Overtaken, match="second has taken over"):
        await third.take_over(instead_of="first")
    # Who lost it while nobody said so gets it back by the name of whoever has it.
    await first.take_over(instead_of="second")
    assert first.term == 3 * PADDING
    await store.close()


async def test_a_stream_that_was_purged_by_hand_is_refused(one_server: NatsServers) -> None:
    names = one_server.new_names()
    journal = await one_server.open(names)
    await entries(journal, 1, [b"0"])
    await entries(journal, 1, [b"1"])
    await journal.close()
    store = await NatsStore.open(one_server.urls)
    first = await store.get(names.stream, seq=1, next_by_subj=names.entries(1))
    assert first is not None
    await store.purge(names.stream, names.entries(1), first.seq + 1)
    with pytest.raises(Unavailable, match="lacks entries from 0 to 0 of session number 1: it was purged"):
        await one_server.open(names)
    await store.ask(f"STREAM.PURGE.{names.stream}")
    with pytest.raises(Unavailable, match="it was purged, or it is something else's"):
        await one_server.open(names)
    await store.close()


async def test_a_second_owner_of_a_data_directory_is_refused(tmp_path: Path) -> None:
    """The same rule on SQLite: who comes second gets nothing, so the first one's entries are its own."""
    with DataDir.open(tmp_path / "data") as place:
        journal: Journal = await SqliteJournal.open(place)
        with pytest.raises(Unavailable), DataDir.open(tmp_path / "data"):
            pass
        await entries(journal, 1, [b"0"])
        await journal.close()


@on_request
@pytest.mark.timeout(600)
async def test_a_power_loss_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """All servers and the writer are killed at once; one server's disk comes back as it was before."""
    servers = NatsServers(tmp_path, 3, {})
    try:
        for number in range(3):
            servers.start(number)
        await servers.ready()
        names = servers.new_names()
        process = start_writer(servers, names.partition)
        try:
            await asyncio.to_thread(lines_of, process, 100)
            servers.kill(1)
            shutil.copytree(servers.store_of(1), tmp_path / "copy")
            servers.start(1)
            reported = await asyncio.to_thread(lines_of, process, 300)
            for number in range(3):
                servers.kill(number)
            process.kill()
            assert process.stdout is not None
            reported += [int(line) for line in process.stdout.read().split()]
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
        shutil.rmtree(servers.store_of(1))
        shutil.copytree(tmp_path / "copy", servers.store_of(1))
        for number in range(3):
            servers.start(number)
        await servers.ready()
        journal = await servers.open(names, patience=20)
        found = [payload for _, payload in await everything(journal, 1)]
        assert found == [b"paused %d" % n for n in range(len(found))]
        assert len(found) > reported[-1]
        await journal.close()
    finally:
        servers.stop()
