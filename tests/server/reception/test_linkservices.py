"""Links that are over are forgotten, and never one that is just being greeted."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from asyncblock.server.jobstate.jobs import LinkState
from asyncblock.server.settings import Settings

from ...peers import Host, Peer, mainframe, node, plan

pytestmark = pytest.mark.timeout(60)

AT_ONCE = Settings(link_expiry=0.0, heartbeat=60)
"""A link without a connection is long away from its first moment on: as on a machine that has been up for a day."""


@contextmanager
def nothing_stored(directory: Path) -> Iterator[None]:
    """Hold the journal's commits back for the duration of the block; it can be read."""
    other = sqlite3.connect(directory / "journal.db", isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")
    finally:
        other.close()


def links_of(host: Host) -> dict[str, LinkState]:
    return host.server.sessions.dispatch.links


async def until_greeted(host: Host, here: Peer, link: str) -> None:
    """Wait until a link's Hello is being stored."""
    async with asyncio.timeout(20):
        while link not in links_of(host) or not links_of(host)[link].greetings:
            await here.ask("sessions")


@pytest.mark.parametrize("known", [False, True])
async def test_a_link_whose_hello_is_being_stored_is_not_forgotten(tmp_path: Path, known: bool) -> None:
    async with mainframe(tmp_path, AT_ONCE) as host:
        here, token = host.peer(), None
        await here.hello("here")
        if known:
            before = host.peer()
            token = (await before.hello("worker", slots=1))["token"]
            await before.transport.close()
            await before.ended()
        worker = host.peer()
        with nothing_stored(tmp_path):
            greeting = asyncio.create_task(worker.hello("worker", slots=1, generation=2, token=token))
            await until_greeted(host, here, "worker")
            await host.server.gateway.expire()
        assert (await greeting)["op"] == "welcome"
        await worker.ask("start", session_id="s", plan=plan(node("n")))
        assert (await worker.until("dispatch"))["job_id"] == "s.0"
