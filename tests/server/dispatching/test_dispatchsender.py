"""How a dispatch gets to its executor, whatever its inputs and its connection are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asyncblock.server.settings import Settings

from ...peers import Host, Peer, mainframe, node, plan

STARTED = {"type": "JobStarted", "t": 1}
FINISHED = {"type": "BlockFinished", "t": 1}


async def test_after_each_welcome_what_is_assigned_is_dispatched_again_as_it_was(tmp_path: Path) -> None:
    async with mainframe(tmp_path, Settings(lease=60)) as host:
        peer = host.peer()
        token = (await peer.hello("executor", slots=1))["token"]
        await peer.ask("start", session_id="s", plan=plan(node("a", {"v": {"sources": [], "value": 7}})))
        first = await peer.until("dispatch")
        await peer.transport.close()
        again = host.peer()
        await again.hello("executor", slots=1, generation=2, token=token)
        second = await again.until("dispatch")
        assert second == first
        await again.batch(1, second["channel"], STARTED, FINISHED)
        assert (await again.rows("s"))[-1]["state"] == "succeeded"


NODES = 60
"""Dispatches of 50 kB each: some twenty are messages before the connection takes no more."""


async def clogged(host: Host, **node_fields: Any) -> tuple[Peer, Peer, str]:
    """Give many jobs to an executor that reads nothing; return who watches, it, and its token."""
    x, y = host.peer(), host.peer()
    token = (await y.hello("y", slots=NODES))["token"]
    await x.hello("x")
    given = {"v": {"sources": [], "value": "v" * 50_000}}
    made = plan(*(node(f"n{number}", given, **node_fields) for number in range(NODES)))
    assert (await x.ask("start", session_id="s", plan=made))["error"] is None
    return x, y, token


async def ends(x: Peer, enough: Any) -> list[dict[str, Any]]:
    """Read what is said of jobs that have ended without a word of their executor until there is enough of it."""
    found: list[dict[str, Any]] = []
    offset = 0
    while not enough(found):
        await x.say("read", id=1, session_id="s", offset=offset)
        page = await x.until("page")
        found += [line for line in page["data"] if line.get("type") == "JobFailed"]
        offset = page["next"]
    return found


async def cancelled(host: Host, x: Peer) -> list[dict[str, Any]]:
    """Cancel the session; return what is said of its jobs that end of that at once, many of them."""
    assert (await x.ask("cancel", session_id="s", reason="enough"))["error"] is None
    count = NODES - len(host.server.sessions.running["s"].jobs)
    assert NODES // 2 < count < NODES
    return await ends(x, lambda found: len(found) == count)


UNSENT = "cancelled: enough; it was still waiting for its executor's connection to take it"


async def test_a_job_that_is_cancelled_while_its_executor_takes_no_messages_ends_at_once(tmp_path: Path) -> None:
    # Its executor hasn't heard of it: nobody else would say its end before its time to clean up is over.
    async with mainframe(tmp_path, Settings(cancel_grace=3600.0)) as host:
        x, y, _ = await clogged(host)
        found = await cancelled(host, x)
        assert {each["error"] for each in found} == {UNSENT}
        # The others were messages already: their executor reads those, and says their end.
        sent: dict[str, int] = {}
        while len(sent) < NODES - len(found):
            message = await y.until("dispatch")
            sent[message["node_id"]] = message["channel"]
        assert sent.keys().isdisjoint(each["node_id"] for each in found)
        for seq, channel in enumerate(sent.values(), 1):
            await y.batch(seq, channel, STARTED, {**FINISHED, "cancelled": True})
        assert (await x.rows("s"))[-1]["state"] == "cancelled"
        await y.ask("info")
        assert not any(message["op"] == "dispatch" for message in y.came)


async def test_a_job_whose_time_is_up_while_its_executor_takes_no_messages_ends_of_that(tmp_path: Path) -> None:
    async with mainframe(tmp_path, Settings(cancel_grace=3600.0)) as host:
        x, *_ = await clogged(host, timeout=0.5)
        [first, *_] = await ends(x, bool)
        assert first["error"] == f"Timeout: node {first['node_id']} took longer than 0.5 s"


@pytest.mark.parametrize("before", [True, False])
async def test_what_was_kept_back_comes_with_the_next_connection_unless_it_was_cancelled(
    tmp_path: Path, before: bool
) -> None:
    async with mainframe(tmp_path, Settings(cancel_grace=3600.0, lease=60)) as host:
        x, y, token = await clogged(host)
        kept: set[str] = set()
        if before:
            kept = {each["node_id"] for each in await cancelled(host, x)}
        y.transport.abort()
        z = host.peer()
        await z.hello("y", slots=NODES, generation=2, token=token)
        got = {(await z.until("dispatch"))["node_id"]}
        # Those that were messages may be too many for this connection, too: then they end as well.
        await x.ask("info", "r2")
        while len(got) < len(host.server.sessions.running["s"].jobs):
            got.add((await z.until("dispatch"))["node_id"])
        assert got.isdisjoint(kept)
